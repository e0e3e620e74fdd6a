/** Fingerprints: what is equal to them, how well signatures estimate similarity, and that nothing else matters. */
import { describe, expect, it } from 'vitest';
import { loadAddon } from '../../src/native/addon.ts';
import type { NearOptions } from '../../src/native/dedup.ts';
import { type TextBatch, TextBatchBuilder } from '../../src/native/text_batch.ts';
import { generatedText } from './stage_context.ts';

const near: NearOptions = {
  unit: 'word',
  shingle: 3,
  permutations: 128,
  bands: 16,
  rows: 8,
  seed: 1,
  scheme: 'multiplicative',
};
const addon = loadAddon();

function batchOf(texts: (string | Uint8Array)[]): TextBatch {
  const builder = new TextBatchBuilder();
  for (const text of texts) builder.add(typeof text === 'string' ? Buffer.from(text) : text);
  return builder.take();
}

function shinglesOf(text: string, length: number): Set<string> {
  const words = text.replace(/[A-Z]/g, (letter) => letter.toLowerCase()).match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  const count = Math.max(1, words.length - length + 1);
  return new Set(Array.from({ length: count }, (_, i) => words.slice(i, i + length).join(' ')));
}

function jaccard(a: Set<string>, b: Set<string>): number {
  const both = [...a].filter((each) => b.has(each)).length;
  return both / (a.size + b.size - both);
}

async function exactOf(...texts: (string | Uint8Array)[]): Promise<string[]> {
  const { exact } = await addon.createFingerprinter({ threads: 1 }).run(batchOf(texts));
  return texts.map((_, i) => `${exact[2 * i]} ${exact[2 * i + 1]}`);
}

describe('the exact hash', () => {
  it('is XXH3-128 of the text with its white space collapsed', async () => {
    // Published vector of the empty input: 99aa06d3014798d86001c324468d497f.
    const empty = `${0x6001c324468d497fn} ${0x99aa06d3014798d8n}`;
    expect(await exactOf('', ' \n\t ')).toEqual([empty, empty]);
    const [a, b, c, d] = await exactOf(
      'one  two\nthree',
      ' one two three\r\n',
      'one two Three',
      'one twothree',
    );
    expect(a).toBe(b);
    expect(new Set([a, c, d]).size).toBe(3);
  });
});

describe('signatures', () => {
  const permutations = 512;
  const options = { ...near, permutations, bands: permutations, rows: 1, signatures: true };
  const signatures = async (batch: TextBatch, near: NearOptions) =>
    (await addon.createFingerprinter({ threads: 1, near }).run(batch)).signatures;
  const agreement = (all: Uint32Array, a: number, b: number) => {
    let same = 0;
    for (let p = 0; p < permutations; p++) {
      if (all[a * permutations + p] === all[b * permutations + p]) same += 1;
    }
    return same / permutations;
  };

  it('estimate the similarity of documents without a bias', async () => {
    const errors: number[] = [];
    for (let trial = 0; trial < 40; trial++) {
      const [shared, own, other] = [
        generatedText(trial + 1, 400),
        generatedText(trial + 500, 20 + 20 * trial),
        generatedText(trial + 900, 30),
      ];
      const texts = [`${shared} ${own}`, `${other} ${shared}`];
      const all = await signatures(batchOf(texts), options);
      const exact = jaccard(shinglesOf(texts[0]!, 3), shinglesOf(texts[1]!, 3));
      const error = agreement(all, 0, 1) - exact;
      // Four standard errors of a share of 512 draws.
      expect(Math.abs(error)).toBeLessThan(4 * Math.sqrt((exact * (1 - exact)) / permutations) + 1e-9);
      errors.push(error);
    }
    const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
    expect(Math.abs(mean)).toBeLessThan(0.01);
  });

  it('do not see case, punctuation or white space, and read scripts without spaces by character', async () => {
    const texts = [
      'One two, three: FOUR five',
      'one  two three\nfour... five!',
      '我们都是人',
      '我们 都是人',
      '我们都是狗',
    ];
    const all = await signatures(batchOf(texts), options);
    expect(agreement(all, 0, 1)).toBe(1);
    expect(agreement(all, 2, 3)).toBe(1);
    expect(agreement(all, 2, 4)).toBeGreaterThan(0.2);
    expect(agreement(all, 2, 4)).toBeLessThan(0.8);
  });

  it('by characters survive a changed word better than by words', async () => {
    const text = generatedText(7, 60).replace(/[^a-z ]/g, 'x');
    const changed = text.replace(/ (\w+) /, ' $1s ');
    const batch = batchOf([text, changed]);
    const byWord = await signatures(batch, options);
    const byCharacter = await signatures(batch, { ...options, unit: 'character', shingle: 5 });
    expect(agreement(byCharacter, 0, 1)).toBeGreaterThan(agreement(byWord, 0, 1));
  });
});

describe('band keys', () => {
  it('are shared by near duplicates, and not by others', async () => {
    const text = generatedText(3, 300);
    const texts = [text, `${text} and one more`, generatedText(4, 300)];
    const { bands } = await addon.createFingerprinter({ threads: 1, near }).run(batchOf(texts));
    const keys = (i: number) => [...bands.subarray(16 * i, 16 * i + 16)];
    expect(keys(0).filter((key, band) => keys(1)[band] === key).length).toBeGreaterThan(8);
    expect(keys(0).filter((key, band) => keys(2)[band] === key)).toEqual([]);
    expect(new Set(keys(0)).size).toBe(16);
  });

  it('of documents without words are those of equal documents only', async () => {
    const { bands } = await addon
      .createFingerprinter({ threads: 1, near })
      .run(batchOf(['...', '!!!', ' ...']));
    expect(bands[0]).not.toBe(bands[16]);
    expect(bands[0]).toBe(bands[32]);
  });
});

describe('threads and borders of batches', () => {
  it('change nothing, whatever the bytes', async () => {
    const texts = Array.from({ length: 700 }, (_, i) => {
      const text = Buffer.from(generatedText(i + 1, i % 40));
      if (i % 7 === 0) for (let at = 3; at < text.length; at += 11) text[at] = (i * 31 + at) & 0xff;
      return text;
    });
    const one = addon.createFingerprinter({ threads: 1, near });
    const whole = await one.run(batchOf(texts));
    const many = await addon.createFingerprinter({ threads: 3, near }).run(batchOf(texts));
    expect(many).toEqual(whole);
    const parts = [await one.run(batchOf(texts.slice(0, 333))), await one.run(batchOf(texts.slice(333)))];
    expect(parts.flatMap(({ exact }) => [...exact])).toEqual([...whole.exact]);
    expect(parts.flatMap(({ bands }) => [...bands])).toEqual([...whole.bands]);
  });

  it('refuses what cannot be', () => {
    const make = (options: object) => () => addon.createFingerprinter(options as never);
    expect(make({ threads: 0 })).toThrow(/threads/);
    expect(make({ threads: 1, near: { ...near, bands: 0 } })).toThrow(/bands/);
    expect(make({ threads: 1, near: { ...near, unit: 'line' } })).toThrow(/unit/);
  });
});
