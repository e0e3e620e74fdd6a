/**
 * Stage `tokenizer`: trains a byte-level BPE vocabulary on text and writes the files that `transformers` loads.
 * Merges are equal to those of Hugging Face's BpeTrainer on the same documents. It keeps no partial work: after a
 * kill it starts again and ends with the same bits.
 */
import { stat } from 'node:fs/promises';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { resolveFiles } from '../data/files.ts';
import { type Row, readAllRows } from '../data/rows.ts';
import { stageRows } from '../data/shapes/read.ts';
import { rowSettings } from '../data/shapes/settings.ts';
import type { Addon, BpeTrainer } from '../native/addon.ts';
import { TextBatchBuilder } from '../native/text_batch.ts';
import { checkTemplate, DEFAULT_CHAT_TEMPLATE, DEFAULT_TURN_TOKEN } from '../tokenizer/chat_template.ts';
import { newTokenizerFiles } from '../tokenizer/new_tokenizer.ts';
import { loadTokenizer, saveTokenizer } from '../tokenizer/tokenizer.ts';
import { type NewTokenizer, vocabularyStrings } from '../tokenizer/tokenizer_json.ts';
import { defineStage, type StageContext, StageStopped } from './stage.ts';

const schema = rowSettings.extend({
  files: z.array(z.string().min(1)).min(1).describe('Data files: names or glob patterns.'),
  vocab_size: z
    .int()
    .min(257)
    .default(32_000)
    .describe('Tokens in all: special tokens, 256 bytes and merges.'),
  min_frequency: z.int().min(0).default(2).describe('A pair must occur this often to be merged.'),
  pattern: z
    .enum(['gpt2', 'cl100k', 'llama3'])
    .default('llama3')
    .describe('How text is split into words first.'),
  special_tokens: z.array(z.string().min(1)).default([DEFAULT_TURN_TOKEN]),
  eos_token: z.string().min(1).default('<|im_end|>').describe('Ends documents and answers.'),
  bos_token: z.string().min(1).optional(),
  chat_template: z
    .string()
    .min(1)
    .default(DEFAULT_CHAT_TEMPLATE)
    .describe('Jinja, as transformers reads it.'),
});
type Settings = z.output<typeof schema>;

/** Documents are handed to the trainer in parts of about this size. */
const PART_BYTES = 4 << 20;
const NUM_SAMPLES = 16;
const SAMPLE_BYTES = 10_000;
/** Bytes of text whose words one thread counts in a second, on the reference machine, with room to spare. */
const BYTES_PER_THREAD_SECOND = 10e6;

export const tokenizerStage = defineStage({
  type: 'tokenizer',
  doc: 'Trains a byte-level BPE tokenizer on text.',
  schema,
  inputs: {},
  files: (settings, baseDir) => resolveFiles(settings.files, baseDir),

  async plan({ settings, baseDir, threads }) {
    checkSettings(settings);
    const files = await resolveFiles(settings.files, baseDir);
    const bytes = await totalBytes(files);
    // Distinct words grow much slower than text: a tenth of it, with their pairs, is more than seen in practice.
    return {
      memoryBytes: (256 << 20) + Math.min(bytes, 4 * 2 ** 30),
      diskBytes: settings.vocab_size * 100,
      seconds: 2 + bytes / (BYTES_PER_THREAD_SECOND * threads),
      detail: { files: files.length, bytes },
    };
  },

  async run(context) {
    const { settings, name } = context;
    checkSettings(settings);
    const specialTokens = specialTokensOf(settings);
    const trainer = context.addon.createBpeTrainer({ pattern: settings.pattern, threads: context.threads });
    const samples = await feed(trainer, context);
    const wanted = settings.vocab_size - 256 - specialTokens.length;
    const merges = await train(trainer, wanted, context);
    const found = merges.length / 2;
    context.emit(
      'progress',
      { stage: name, done: found, total: wanted, unit: 'merge', metrics: {} },
      `${name}/merges`,
    );
    if (found < wanted) {
      context.log(
        'warning',
        `The text has only ${found} pairs that occur ${settings.min_frequency} times: the vocabulary has ${found + 256 + specialTokens.length} tokens, not ${settings.vocab_size}.`,
      );
    }
    const made: NewTokenizer = { pattern: settings.pattern, merges, specialTokens };
    const files = newTokenizerFiles(made, {
      eosToken: settings.eos_token,
      bosToken: settings.bos_token,
      chatTemplate: settings.chat_template,
    });
    await saveTokenizer({ files }, context.outDir);
    await readBack(context.outDir, made, samples, context.addon);
    context.record({ vocabulary: vocabularyStrings(made).length, merges: found });
  },
});

function specialTokensOf(settings: Settings): string[] {
  const bos = settings.bos_token === undefined ? [] : [settings.bos_token];
  return [...new Set([...bos, settings.eos_token, ...settings.special_tokens])];
}

function checkSettings(settings: Settings): void {
  const specials = specialTokensOf(settings).length;
  if (settings.vocab_size < 256 + specials) {
    throw new AnnealError(
      'recipe_invalid',
      `vocab_size ${settings.vocab_size} has no room for 256 bytes and ${specials} special tokens.`,
      { path: 'vocab_size', hint: `Set it to ${256 + specials} or more.` },
    );
  }
  checkTemplate(settings.chat_template);
}

async function totalBytes(files: readonly string[]): Promise<number> {
  let bytes = 0;
  for (const file of files) bytes += (await stat(file)).size;
  return bytes;
}

/** Plain text of a row, as the words are counted. */
function rowTexts(row: Row): Buffer[] {
  if (row.kind === 'text') return [row.text];
  if (row.kind === 'completion') return [Buffer.from(row.prompt), Buffer.from(row.completion)];
  return row.messages.map(({ content }) => Buffer.from(content ?? ''));
}

/** Counts the words of all files; returns a few documents for the check of what is saved. */
async function feed(trainer: BpeTrainer, context: StageContext<Settings>): Promise<Buffer[]> {
  const { settings, name } = context;
  const samples: Buffer[] = [];
  const files = await resolveFiles(settings.files, context.baseDir);
  const total = await totalBytes(files);
  const part = new TextBatchBuilder();
  let documents = 0;
  let done = 0;
  const flush = async (): Promise<void> => {
    if (context.checkpointRequested()) throw new StageStopped();
    await trainer.feed(part.take());
    context.emit(
      'progress',
      { stage: name, done, total, unit: 'byte', metrics: { documents } },
      `${name}/byte/${done}`,
    );
  };
  for await (const row of readAllRows(stageRows(context, settings.files, 'files'))) {
    done = row.bytesRead;
    for (const text of rowTexts(row)) {
      documents += 1;
      if (samples.length < NUM_SAMPLES) samples.push(text.subarray(0, SAMPLE_BYTES));
      part.add(text);
    }
    if (part.byteLength >= PART_BYTES) await flush();
  }
  if (documents === 0) {
    throw new AnnealError(
      'data_empty',
      `The files of stage ${name} hold no text: ${files.slice(0, 3).join(', ')}.`,
      {
        path: 'files',
        hint: 'Name files with text in them.',
      },
    );
  }
  await flush();
  return samples;
}

async function train(
  trainer: BpeTrainer,
  merges: number,
  context: StageContext<Settings>,
): Promise<Int32Array> {
  const stop = new AbortController();
  const poll = setInterval(() => {
    if (context.checkpointRequested()) stop.abort();
  }, 200);
  try {
    const result = await trainer.train({
      merges,
      minFrequency: context.settings.min_frequency,
      signal: stop.signal,
    });
    if (stop.signal.aborted) throw new StageStopped();
    return result;
  } catch (error) {
    if (stop.signal.aborted) throw new StageStopped();
    throw error;
  } finally {
    clearInterval(poll);
  }
}

/** Loads what was written and compares ids and text of samples with an encoder made from the merges themselves. */
async function readBack(dir: string, made: NewTokenizer, samples: Buffer[], addon: Addon): Promise<void> {
  const { pattern, merges, specialTokens } = made;
  const loaded = await loadTokenizer(dir, { threads: 1 });
  const size = vocabularyStrings(made).length;
  const direct = addon.createBpeEncoder({
    pattern,
    merges,
    ids: Int32Array.from({ length: size - specialTokens.length }, (_, unit) => specialTokens.length + unit),
    threads: 1,
  });
  const same = samples.every((sample) => {
    const ids = loaded.encode(sample);
    return (
      Buffer.from(ids.buffer).equals(Buffer.from(direct.encode(sample).buffer)) &&
      loaded.decode(ids) === new TextDecoder('utf-8', { ignoreBOM: true }).decode(sample)
    );
  });
  if (same && loaded.vocabSize === size) return;
  throw new AnnealError('readback_failed', `The tokenizer in ${dir}, loaded again, gives other ids.`, {
    path: dir,
  });
}
