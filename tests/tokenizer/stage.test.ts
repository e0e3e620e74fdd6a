/** The stage `tokenizer` from files to files: what it writes, reports and refuses. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { EventBody } from '../../proto/events.ts';
import { tokenizerStage } from '../../src/stages/tokenizer.ts';
import { Sample } from '../../src/tokenizer/samples.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { generatedText, runStage, type StageRun, temporaryFolder } from '../data/stage_context.ts';
import { unigramFile, wordPieceFile, writeKind } from './other_kinds.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
mkdirSync(join(folder.path, 'data'));
for (const [name, first] of [
  ['a', 0],
  ['b', 50],
] as const) {
  const rows = Array.from({ length: 50 }, (_, i) => JSON.stringify({ text: generatedText(first + i, 300) }));
  writeFileSync(join(folder.path, `data/${name}.jsonl`), `${rows.join('\n')}\n`);
}
const FILES = ['data/a.jsonl', 'data/b.jsonl'];

let runs = 0;
async function train(
  settings: object,
  inputs: Record<string, string> = {},
): Promise<StageRun & { dir: string; warnings: string[] }> {
  const dir = join(folder.path, `out${runs++}`);
  mkdirSync(dir);
  const run = await runStage(
    tokenizerStage,
    { files: FILES, vocab_size: 400, ...settings },
    { outDir: dir, baseDir: folder.path, inputs },
  );
  const warnings = run.events.flatMap(({ kind, body }) =>
    kind === 'notice' && (body as EventBody<'notice'>).level === 'warning'
      ? [(body as EventBody<'notice'>).text]
      : [],
  );
  return { ...run, dir, warnings };
}

describe('stage tokenizer', () => {
  it('puts special and reserved tokens first', async () => {
    const { dir, warnings, results } = await train({
      special_tokens: ['<|user|>'],
      bos_token: '<s>',
      reserved_tokens: 5,
    });
    const tokenizer = await loadTokenizer(dir);
    // ChatML's own turn token is not among those that were named.
    expect(warnings).toEqual([expect.stringContaining('<|im_start|>, ')]);
    expect((await train({})).warnings.join()).not.toContain('<|im_start|>');
    expect(tokenizer.vocabSize).toBe(400);
    expect(results).toMatchObject({ vocabulary: 400, merges: 400 - 256 - 8, documents: 100 });
    expect([...tokenizer.specials]).toEqual([
      ['<s>', 0],
      ['<|im_end|>', 1],
      ['<|user|>', 2],
      ...Array.from({ length: 5 }, (_, i) => [`<|reserved_${i}|>`, 3 + i]),
    ]);
  });

  it('reports bytes a token by source, beside other tokenizers', async () => {
    const small = await train({ vocab_size: 300 });
    expect(small.events.map(({ kind }) => kind)).not.toContain('report');
    expect(small.results['bytes_per_token/data/a.jsonl/trained']).toBeGreaterThan(1);
    const { events, results, dir } = await train(
      { vocab_size: 800, compare_with: { small: 'x' }, files: ['data/a.jsonl', 'data/*.jsonl'] },
      { 'compare_with.small': small.dir },
    );
    const report = events.find(({ kind }) => kind === 'report')!.body as {
      columns: string[];
      rows: [string, number, number][];
    };
    expect(report.columns).toEqual(['source', 'trained (800)', 'small (300)']);
    expect(report.rows.map(([source]) => source)).toEqual(['data/a.jsonl', 'data/*.jsonl']);
    const told: unknown[] = [];
    await tokenizerStage.retell!(
      { hash: 'h', path: dir, type: 'tokenizer' },
      { name: 'again', emit: (_, body) => void told.push(body) },
    );
    expect(told).toEqual([{ ...report, stage: 'again' }]);
    await expect(train({ compare_with: { base: 'x' } })).rejects.toMatchObject({ path: 'compare_with.base' });
    const tokenizer = await loadTokenizer(small.dir);
    const text = Buffer.from(Array.from({ length: 50 }, (_, i) => generatedText(i, 300)).join(''));
    for (const [source, own, other] of report.rows) {
      expect(own).toBeGreaterThan(other);
      expect(results[`bytes_per_token/${source}/small`]).toBe(other);
    }
    // The sample is all of so small a source; texts joined differ from documents at their ends alone.
    expect(report.rows[0]![2]).toBeCloseTo(text.length / tokenizer.encode(text).length, 1);
  });

  it('compares with published tokenizers of every kind', async () => {
    const text = Array.from({ length: 50 }, (_, i) => generatedText(i, 300));
    const published = {
      bytes: (await train({ vocab_size: 350, pattern: 'gpt2' })).dir,
      characters: (await train({ vocab_size: 450, byte_fallback: true, add_prefix_space: true })).dir,
      unigram: writeKind(join(folder.path, 'unigram'), unigramFile(text.join(' '))),
      word_piece: writeKind(join(folder.path, 'word_piece'), wordPieceFile(text.join(' '))),
    };
    const names = Object.keys(published);
    const { events } = await train(
      { files: [FILES[0]], compare_with: published },
      Object.fromEntries(Object.entries(published).map(([name, dir]) => [`compare_with.${name}`, dir])),
    );
    const report = events.find(({ kind }) => kind === 'report')!.body as {
      columns: string[];
      rows: [string, ...number[]][];
    };
    const bytes = Buffer.byteLength(text.join(''));
    for (const [i, name] of names.entries()) {
      const tokenizer = await loadTokenizer(published[name as keyof typeof published]);
      expect(report.columns[2 + i]).toBe(`${name} (${tokenizer.vocabSize})`);
      // The sample is all of so small a source.
      const tokens = text.reduce((sum, document) => sum + tokenizer.encode(document).length, 0);
      expect(report.rows[0]![2 + i]).toBeCloseTo(bytes / tokens, 3);
    }
  });

  it('says what a bound on the words costs', async () => {
    const all = await train({});
    const { warnings } = await train({ max_words: 1000 });
    expect(all.results.distinct_words).toBeGreaterThan(1000);
    expect(all.warnings.join()).not.toContain('approximate');
    expect(warnings.join()).toContain('Counts are approximate');
    const rare = await train({ prune_below: 1_000_000 });
    expect(rare.results.merges).toBe(0);
    expect(rare.warnings.join()).toContain('0 pairs');
  });

  it('gives the same bytes again', async () => {
    const [one, two] = [await train({}), await train({})];
    expect(readFileSync(join(one.dir, 'tokenizer.json'))).toEqual(
      readFileSync(join(two.dir, 'tokenizer.json')),
    );
  });

  it('refuses a vocabulary without room, and files without text', async () => {
    await expect(train({ vocab_size: 300, reserved_tokens: 100 })).rejects.toMatchObject({
      code: 'recipe_invalid',
      path: 'vocab_size',
    });
    writeFileSync(join(folder.path, 'data/empty.txt'), '\n');
    await expect(train({ files: ['data/empty.txt'] })).rejects.toMatchObject({ code: 'data_empty' });
  });
});

describe('stage tokenizer over characters', () => {
  it('makes tokens of the characters that cover the text, and of bytes for the others', async () => {
    const count = (dir: string): number =>
      Object.keys(vocabularyOf(dir).vocab).filter((token) => [...token].length === 1).length;
    const all = await train({ byte_fallback: true, character_coverage: 1, vocab_size: 500 });
    const most = await train({ byte_fallback: true, character_coverage: 0.9, vocab_size: 500 });
    const few = await train({ byte_fallback: true, limit_alphabet: 5, vocab_size: 500 });
    const text = FILES.flatMap((file) => readFileSync(join(folder.path, file), 'utf8').trim().split('\n'));
    const counts = new Map<string, number>();
    let total = 0;
    for (const char of text.map((line) => (JSON.parse(line) as { text: string }).text).join('')) {
      counts.set(char, (counts.get(char) ?? 0) + 1);
      total += 1;
    }
    const sorted = [...counts.values()].sort((a, b) => b - a);
    let wanted = 0;
    for (let covered = 0; covered < 0.9 * total; wanted++) covered += sorted[wanted]!;
    expect([count(all.dir), count(most.dir), count(few.dir)]).toEqual([sorted.length, wanted, 5]);
    expect(all.results).toMatchObject({ vocabulary: 500, merges: 500 - 256 - 2 - sorted.length });
    const { model } = JSON.parse(readFileSync(join(few.dir, 'tokenizer.json'), 'utf8')) as { model: object };
    expect(model).toMatchObject({ type: 'BPE', byte_fallback: true, ignore_merges: false });
    // No merge goes across a character that is none of the five.
    const five = new Set(Object.keys(vocabularyOf(few.dir).vocab).filter((token) => [...token].length === 1));
    for (const merge of vocabularyOf(few.dir).merges) {
      for (const char of [...merge].join('')) expect(five).toContain(char);
    }
    const tokenizer = await loadTokenizer(few.dir);
    for (const each of ['東京 zq', ' a  b', 'e\u0301\n'])
      expect(tokenizer.decode(tokenizer.encode(each))).toBe(each);
  });

  it.each([{ byte_fallback: true }, { pattern: 'bloom' }])(
    'never merges text to a special token or a byte: %j',
    async (units) => {
      writeFileSync(join(folder.path, 'data/tokens.txt'), 'a<|im_end|>b <0x0A> <s> '.repeat(200));
      const { dir } = await train({
        ...units,
        files: ['data/tokens.txt'],
        vocab_size: 400,
        special_tokens: ['<s>'],
        min_frequency: 0,
      });
      const tokenizer = await loadTokenizer(dir);
      const ids = [...tokenizer.encode('a<|im_end|>b <0x0A> <s>')];
      const before = units.byte_fallback ? 258 : 2;
      expect(ids.every((id) => id >= before)).toBe(true);
      expect(ids.length).toBeLessThan(15);
      expect(tokenizer.decode(ids)).toBe('a<|im_end|>b <0x0A> <s>');
    },
  );

  it.each([
    [{ byte_fallback: true, pattern: 'llama3' }, 'pattern'],
    [{ pattern: 'spaces' }, 'pattern'],
    [{ limit_alphabet: 9 }, 'limit_alphabet'],
    [{ character_coverage: 1 }, 'character_coverage'],
    [{ byte_fallback: true, vocab_size: 270, character_coverage: 1 }, 'vocab_size'],
  ])('refuses %j', async (settings, path) => {
    await expect(train(settings)).rejects.toMatchObject({ code: 'recipe_invalid', path });
  });

  it('is not extended', async () => {
    const { dir } = await train({ byte_fallback: true });
    await expect(train({ base: 'x', vocab_size: 600 }, { base: dir })).rejects.toMatchObject({
      path: 'base',
    });
    await expect(train({ base: 'x', byte_fallback: true }, { base: dir })).rejects.toMatchObject({
      path: 'byte_fallback',
    });
  });
});

describe('stage tokenizer with a base', () => {
  it('goes on where a training on the same text would have gone on', async () => {
    const half = await train({ vocab_size: 450 });
    const whole = await train({ vocab_size: 600 });
    const extended = await train({ vocab_size: 600, base: 'x' }, { base: half.dir });
    expect(vocabularyOf(extended.dir)).toEqual(vocabularyOf(whole.dir));
    expect(extended.results).toMatchObject({ merges: 150, vocabulary: 600 });
    expect(extended.events.find(({ kind }) => kind === 'report')!.body).toMatchObject({
      columns: ['source', 'trained (600)', 'base (450)'],
    });
  });

  it('keeps ids, adds special tokens behind, and learns from other text', async () => {
    const base = await train({ vocab_size: 450, files: ['data/a.jsonl'] });
    const extended = await train(
      {
        vocab_size: 500,
        base: 'x',
        files: ['data/b.jsonl'],
        special_tokens: ['<|im_start|>', '<|new|>'],
        reserved_tokens: 2,
      },
      { base: base.dir },
    );
    const tokenizer = await loadTokenizer(extended.dir);
    expect(tokenizer.vocabSize).toBe(500);
    expect(Object.fromEntries(tokenizer.specials)).toMatchObject({
      '<|im_end|>': 0,
      '<|im_start|>': 1,
      '<|new|>': 497,
      '<|reserved_0|>': 498,
      '<|reserved_1|>': 499,
    });
    const [old, now] = [vocabularyOf(base.dir), vocabularyOf(extended.dir)];
    expect(now.vocab).toMatchObject(old.vocab);
    expect(now.merges.slice(0, old.merges.length)).toEqual(old.merges);
    expect(Object.keys(now.vocab).length - Object.keys(old.vocab).length).toBe(47);
    expect([...tokenizer.encodeWithSpecials('<|new|>')]).toEqual([497]);
  });

  it('refuses what the base decides, and a vocabulary without room', async () => {
    const base = await train({ vocab_size: 300 });
    await expect(train({ base: 'x', pattern: 'gpt2' }, { base: base.dir })).rejects.toMatchObject({
      code: 'recipe_invalid',
      path: 'pattern',
    });
    await expect(train({ base: 'x', vocab_size: 300 }, { base: base.dir })).rejects.toMatchObject({
      code: 'recipe_invalid',
      path: 'vocab_size',
    });
  });
});

function vocabularyOf(dir: string): { vocab: Record<string, number>; merges: string[] } {
  const { model } = JSON.parse(readFileSync(join(dir, 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number>; merges: string[] };
  };
  return model;
}

describe('samples', () => {
  it('are spread over all documents and bounded', () => {
    const sample = new Sample();
    const document = (i: number): Buffer => Buffer.from(`${i}:${'é'.repeat(5000)}`);
    for (let i = 0; i < 1000; i++) sample.add(document(i));
    const numbers = sample.documents.map((kept) => Number.parseInt(kept.toString(), 10));
    expect(sample.batch().bytes.length).toBeLessThanOrEqual(1 << 20);
    expect(numbers.length).toBeGreaterThan(50);
    const stride = numbers[1]! - numbers[0]!;
    expect(numbers).toEqual(numbers.map((_, i) => i * stride));
    expect(1000 - numbers.at(-1)!).toBeLessThanOrEqual(stride);
  });

  it('end at whole characters', () => {
    const sample = new Sample();
    for (const shift of [0, 1, 2, 3]) sample.add(Buffer.from('x'.repeat(shift) + '🙂'.repeat(5000)));
    for (const kept of sample.documents) {
      expect(kept.toString().includes('\uFFFD')).toBe(false);
      expect(kept.length).toBeGreaterThan((1 << 14) - 4);
    }
  });
});
