/** Tokenizers trained in a moment on generated text, one for each split pattern. */
import { mkdirSync } from 'node:fs';
import { loadAddon } from '../../src/native/addon.ts';
import { textBatch } from '../../src/native/text_batch.ts';
import { DEFAULT_CHAT_TEMPLATE } from '../../src/tokenizer/chat_template.ts';
import { newTokenizerFiles } from '../../src/tokenizer/new_tokenizer.ts';
import type { BytePattern } from '../../src/tokenizer/split_patterns.ts';
import { loadTokenizer, saveTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { generatedText } from '../data/stage_context.ts';

export const SPECIALS = ['<|im_end|>', '<|im_start|>', '<s>'];

/** The documents that the fixtures are trained on. */
export function trainingDocuments(): string[] {
  return Array.from({ length: 40 }, (_, i) => generatedText(i + 100, 400));
}

/** Trains, saves to `dir` and loads. */
export async function trainTokenizer(
  dir: string,
  pattern: BytePattern,
  options: { merges?: number; minFrequency?: number; chatTemplate?: string; bosToken?: string } = {},
): Promise<Tokenizer> {
  const trainer = loadAddon().createBpeTrainer({ pattern, threads: 2 });
  await trainer.feed(textBatch(trainingDocuments()));
  const merges = await trainer.train({
    merges: options.merges ?? 300,
    minFrequency: options.minFrequency ?? 0,
  });
  mkdirSync(dir, { recursive: true });
  const files = newTokenizerFiles(
    { pattern, merges, specialTokens: SPECIALS },
    {
      eosToken: '<|im_end|>',
      bosToken: options.bosToken,
      chatTemplate: options.chatTemplate ?? DEFAULT_CHAT_TEMPLATE,
    },
  );
  await saveTokenizer({ files }, dir);
  return loadTokenizer(dir, { threads: 2 });
}

/** A tokenizer.json as an object, to break or change for a test. */
export function editedJson(tokenizer: Tokenizer, edit: (json: TokenizerJson) => unknown): string {
  const json = JSON.parse(tokenizer.files.get('tokenizer.json')!) as TokenizerJson;
  edit(json);
  return JSON.stringify(json);
}

export interface TokenizerJson {
  normalizer: unknown;
  pre_tokenizer: Record<string, unknown>;
  decoder: unknown;
  added_tokens: Record<string, unknown>[];
  model: { type: string; vocab: Record<string, number>; merges: unknown[]; ignore_merges: boolean };
}
