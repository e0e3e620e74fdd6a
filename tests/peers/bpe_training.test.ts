/** Trained vocabularies against Hugging Face `tokenizers` and `transformers`: every split pattern, ties, extension. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DataRandom } from '../../src/data/random.ts';
import { tokenizerStage } from '../../src/stages/tokenizer.ts';
import { BYTE_PATTERNS } from '../../src/tokenizer/split_patterns.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { generatedText, runStage, temporaryFolder } from '../data/stage_context.ts';
import { fuzzTexts, hasPeer, peer } from './tokenizer_peer.ts';

interface Trained {
  vocab: Record<string, number>;
  merges: [string, string][];
}

const random = new DataRandom('training');
/** Language-like text, anything that Unicode has, and words of few letters, where most pairs tie. */
const DOCUMENTS = [
  ...Array.from({ length: 30 }, (_, i) => generatedText(i, 300)),
  ...fuzzTexts(200),
  ...Array.from({ length: 30 }, () =>
    Array.from({ length: 200 }, () => 'aaabbc 1\n'[random.below(9)]).join(''),
  ),
].filter((text) => text.trim() !== '');

/** Without special tokens, whose text Hugging Face's trainer would merge to them; ours passes such a merge over. */
const PLAIN = DOCUMENTS.map((text) => text.replaceAll('<|im_', '')).filter((text) => text.trim() !== '');

describe.skipIf(!hasPeer)('trained vocabularies', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);
  writeFileSync(
    join(folder.path, 'data.jsonl'),
    DOCUMENTS.map((text) => `${JSON.stringify({ text })}\n`).join(''),
  );
  writeFileSync(
    join(folder.path, 'plain.jsonl'),
    PLAIN.map((text) => `${JSON.stringify({ text })}\n`).join(''),
  );
  const train = async (name: string, settings: object, base?: string): Promise<string> => {
    const dir = join(folder.path, name);
    mkdirSync(dir);
    await runStage(
      tokenizerStage,
      { files: ['data.jsonl'], ...settings, ...(base === undefined ? {} : { base }) },
      { outDir: dir, baseDir: folder.path, inputs: base === undefined ? {} : { base } },
    );
    return dir;
  };

  it.each(BYTE_PATTERNS.map((pattern, i) => [pattern, [0, 2, 5][i % 3]!] as const))(
    'are the same: %s, pairs that occur %i times',
    async (pattern, minFrequency) => {
      const dir = await train(pattern, { pattern, vocab_size: 4000, min_frequency: minFrequency });
      const tokenizer = await loadTokenizer(dir);
      const { model } = JSON.parse(tokenizer.files.get('tokenizer.json')!) as { model: Trained };
      const special = [...tokenizer.specials.keys()];
      const trained = peer<Trained>({
        task: 'train',
        folder: dir,
        documents: DOCUMENTS,
        merges: 4000 - 256 - special.length,
        min_frequency: minFrequency,
        special_tokens: special,
      });
      expect(model.merges.length).toBeGreaterThan(1000);
      expect(model.merges).toEqual(trained.merges);
      expect(model.vocab).toEqual(trained.vocab);
    },
  );

  it.each([
    ['spaces', true, 2],
    ['spaces_digits', false, 0],
  ] as const)(
    'are the same over characters: %s, a space before a text: %s, pairs that occur %i times',
    async (pattern, addPrefixSpace, minFrequency) => {
      const dir = await train(`characters-${pattern}`, {
        files: ['plain.jsonl'],
        byte_fallback: true,
        character_coverage: 1,
        pattern,
        add_prefix_space: addPrefixSpace,
        vocab_size: 4000,
        min_frequency: minFrequency,
      });
      const tokenizer = await loadTokenizer(dir);
      const { model } = JSON.parse(tokenizer.files.get('tokenizer.json')!) as { model: Trained };
      const trained = peer<Trained>({
        task: 'train_characters',
        folder: dir,
        documents: PLAIN,
        vocab_size: 4000,
        min_frequency: minFrequency,
        special_tokens: [...tokenizer.specials.keys()],
        digits: pattern === 'spaces_digits',
      });
      expect(model.merges.length).toBeGreaterThan(1000);
      expect(model.merges).toEqual(trained.merges);
      expect(model.vocab).toEqual(trained.vocab);
      expect(model.merges.some(([left]) => /\d/.test(left))).toBe(pattern === 'spaces');
    },
  );

  it('give the same ids and text in transformers where they fall back to bytes', async () => {
    for (const addPrefixSpace of [false, true]) {
      const dir = await train(`fallback-${addPrefixSpace}`, {
        byte_fallback: true,
        character_coverage: 0.98,
        add_prefix_space: addPrefixSpace,
        vocab_size: 800,
      });
      const tokenizer = await loadTokenizer(dir);
      const texts = [...fuzzTexts(500), ...DOCUMENTS, 'call <|im_start|> now<|im_end|>'];
      const theirs = peer<{ ids: number[][]; auto_ids: number[][]; text: string[]; size: number }>({
        task: 'encode',
        folder: dir,
        texts,
      });
      const ids = texts.map((text) => [...tokenizer.encodeWithSpecials(text)]);
      expect(ids.flat().some((id) => id >= 2 && id < 258)).toBe(true);
      expect(theirs.ids).toEqual(ids);
      expect(theirs.auto_ids).toEqual(ids);
      expect(theirs.size).toBe(800);
    }
  });

  it('are loaded by transformers when they extend another one, with the same ids', async () => {
    const base = await train('base', { pattern: 'qwen2', vocab_size: 600 });
    const dir = await train('extended', { vocab_size: 900, special_tokens: ['<|tool|>'] }, base);
    const [old, tokenizer] = [await loadTokenizer(base), await loadTokenizer(dir)];
    const texts = [...fuzzTexts(300), ...DOCUMENTS.slice(0, 20), 'call <|tool|> now<|im_end|>'];
    const theirs = peer<{
      ids: number[][];
      auto_ids: number[][];
      auto_text: string[];
      size: number;
      eos: number;
    }>({
      task: 'encode',
      folder: dir,
      texts,
    });
    expect(theirs.ids).toEqual(texts.map((text) => [...tokenizer.encodeWithSpecials(text)]));
    expect(theirs.auto_ids).toEqual(theirs.ids);
    expect(theirs.auto_text).toEqual(texts);
    expect(theirs).toMatchObject({ size: 900, eos: old.eosId });
    expect(tokenizer.specials.get('<|tool|>')).toBe(899);
    const length = (of: typeof old): number =>
      DOCUMENTS.reduce((sum, text) => sum + of.encode(text).length, 0);
    expect(length(tokenizer)).toBeLessThan(0.95 * length(old));
  });
});
