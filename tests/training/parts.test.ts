/** The parts of the trainer that are pure: schedules, packing, the audit, the objective, journals, files. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { SupervisedRow } from '../../src/data/dataset.ts';
import { StopStrings } from '../../src/models/complete.ts';
import { crossEntropy, crossEntropyWeights } from '../../src/objectives/cross_entropy.ts';
import { auditRows } from '../../src/training/audit.ts';
import { Journal } from '../../src/training/journal.ts';
import { documentRows, fitRow, fitRows, packBatch, supervisedRows } from '../../src/training/rows.ts';
import { learningRate } from '../../src/training/schedule.ts';
import { RowStream } from '../../src/training/stream.ts';
import { requireDiskSpace, writeFileAtomic } from '../../src/util/files.ts';
import { canonicalJson, hashValue } from '../../src/util/hash.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-parts-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('cross-entropy', () => {
  it('has the gradient of its loss, by finite differences', () => {
    const logProbs = Float32Array.of(-0.5, -2, -0.25, -3);
    const { gradients } = crossEntropy({ logProbs }, 7);
    const h = 2 ** -8;
    logProbs.forEach((value, i) => {
      const at = (shift: number) => crossEntropy({ logProbs: logProbs.with(i, value + shift) }, 7).loss;
      expect((at(h) - at(-h)) / (2 * h)).toBeCloseTo(gradients.logProbs[i]!, 6);
    });
    expect([...crossEntropyWeights(2, 7)]).toEqual([...gradients.logProbs.slice(0, 2)].map((g) => -g));
  });
});

describe('schedules', () => {
  const base = { peak: 1, minRatio: 0.1, warmupSteps: 4, totalSteps: 20, decayRatio: 0.25 };
  it.each(['constant', 'linear', 'cosine', 'warmup_stable_decay'] as const)('%s', (type) => {
    const rates = Array.from({ length: 20 }, (_, i) => learningRate({ ...base, type }, i + 1));
    expect(rates.slice(0, 4)).toEqual([0.2, 0.4, 0.6, 0.8].map((r) => expect.closeTo(r)));
    expect(rates[4]).toBeCloseTo(1);
    expect(Math.max(...rates)).toBeCloseTo(1);
    expect(Math.min(...rates)).toBeGreaterThanOrEqual(0.1);
    const decays = rates.findIndex((rate, i) => i > 4 && rate < 1 - 1e-9);
    expect(decays).toBe({ constant: -1, linear: 5, cosine: 5, warmup_stable_decay: 16 }[type]);
    for (let i = 5; i < 20; i++) expect(rates[i]!).toBeLessThanOrEqual(rates[i - 1]!);
  });
  it('need no warm-up', () => {
    expect(learningRate({ ...base, type: 'linear', warmupSteps: 0 }, 1)).toBe(1);
  });
});

const row = (ids: number[], scored: number[]) => ({
  ids: Int32Array.from(ids),
  scored: Uint8Array.from(scored),
  origin: `r${ids[0]}`,
});

describe('rows', () => {
  it('end at the last scored token and are laid end to end', () => {
    const source = supervisedRows([
      row([10, 11, 12, 13, 14], [0, 0, 1, 1, 0]),
      row([20, 21], [0, 0]),
      row([30, 31, 32], [0, 1, 0]),
    ]);
    expect(source.count).toBe(2);
    const batch = packBatch(source, [1, 0]);
    expect([...batch.tokens]).toEqual([30, 10, 11, 12]);
    expect([...batch.cuSeqlens]).toEqual([0, 1, 4]);
    expect([...batch.scored]).toEqual([0, 2, 3]);
    expect([...batch.targets]).toEqual([31, 12, 13]);
  });
});

describe('documents as rows', () => {
  const documents = [5, 1, 9, 4].map((length) => Int32Array.from({ length }, (_, i) => 100 * length + i));
  const dataset = {
    phaseEnds: [2],
    numDocuments: documents.length,
    length: (d: number) => documents[d]!.length,
    document: (d: number, start = 0, length?: number) =>
      documents[d]!.subarray(start, start + (length ?? documents[d]!.length)),
    origin: (d: number) => `d${d}`,
  };

  it('predicts every token but the first of each exactly once, long ones in pieces', () => {
    const source = documentRows(dataset, 4, false);
    expect([...source.lengths]).toEqual([4, 4, 4, 3]);
    const predicted = Array.from({ length: source.count }, (_, r) => [...source.row(r).targets]).flat();
    expect(predicted).toEqual(documents.flatMap((ids) => [...ids.subarray(1)]));
    for (let r = 0; r < source.count; r++) {
      const { inputs, targets } = source.row(r);
      expect([...targets]).toEqual([...inputs].map((id) => id + 1));
    }
    expect(source.origin(2)).toBe('d2+4');
  });

  it('leaves long ones out when told to', () => {
    expect([...documentRows(dataset, 4, true).lengths]).toEqual([4, 3]);
  });
});

describe('rows that are too long', () => {
  const long = row([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 1, 1, 1, 1, 0, 1]);
  const short = row([9, 8], [0, 1]);

  it('are cut, left out, or cut into several that lose no scored token', () => {
    const texts = (rows: { ids: Int32Array }[]) => rows.map(({ ids }) => [...ids].join(''));
    expect(texts(fitRows([long, short], 4, 'truncate'))).toEqual(['1234', '98']);
    expect(texts(fitRows([long, short], 4, 'drop'))).toEqual(['98']);
    const pieces = fitRows([long, short], 4, 'split');
    expect(texts(pieces)).toEqual(['1234', '4567', '78', '98']);
    expect(pieces.map(({ origin }) => origin)).toEqual(['r1', 'r1+3', 'r1+6', 'r9']);
    const { count, row: at } = supervisedRows(pieces);
    const targets = Array.from({ length: count }, (_, i) => [...at(i).targets]);
    expect(targets).toEqual([[3, 4], [5, 6], [8], [8]]);
    expect(texts(fitRows([row([1, 2, 3, 4], [0, 1, 1, 1])], 4, 'split'))).toEqual(['1234']);
  });
});

describe('the stream of rows', () => {
  const source = supervisedRows(
    Array.from({ length: 23 }, (_, i) =>
      row(
        Array.from({ length: 4 + (i % 5) }, (_, j) => i * 10 + j),
        Array.from({ length: 4 + (i % 5) }, (_, j) => (j > 0 ? 1 : 0)),
      ),
    ),
  );
  const stream = () => new RowStream(source, { maxLength: 10, batchSize: 2, packing: 'best_fit', seed: 4 });

  it('has each row once an epoch, in another order each', () => {
    const rows = stream();
    const epochs: number[][] = [[], []];
    for (let cursor = { epoch: 0, index: 0 }; cursor.epoch < 2; ) {
      // A group never crosses a border when it is of one microbatch; the border is seen by the fraction.
      const { microbatches, next } = rows.group(cursor, 1, []);
      epochs[cursor.epoch]!.push(...microbatches[0]!);
      cursor = rows.epochsAt(next) >= cursor.epoch + 1 ? { epoch: cursor.epoch + 1, index: 0 } : next;
    }
    const all = Array.from({ length: 23 }, (_, i) => i);
    for (const epoch of epochs) expect(epoch.toSorted((x, y) => x - y)).toEqual(all);
    expect(epochs[0]).not.toEqual(epochs[1]);
  });

  it('leaves rows out from the place on at which they were set aside', () => {
    const rows = stream();
    const first = rows.group({ epoch: 0, index: 0 }, 2, []);
    const gone = { from: { epoch: 0, index: 1 }, rows: first.microbatches.flat() };
    // Before that place nothing changes.
    expect(rows.group({ epoch: 0, index: 0 }, 1, [gone]).microbatches[0]).toEqual(first.microbatches[0]);
    const later = rows.group({ epoch: 0, index: 1 }, 12, [gone]);
    expect(later.microbatches.flat().filter((r) => gone.rows.includes(r))).toEqual([]);
    expect(later.scored).toBe(later.microbatches.flat().reduce((sum, r) => sum + source.scoredCounts[r]!, 0));
  });

  it('says when nothing is left', () => {
    const all = { from: { epoch: 0, index: 0 }, rows: Array.from({ length: 23 }, (_, i) => i) };
    expect(() => stream().group({ epoch: 0, index: 0 }, 1, [all])).toThrowError(/No rows are left/);
  });
});

describe('the audit', () => {
  const tokenizer = { bosId: 1, eosId: 2, decode: (ids: Iterable<number>) => [...ids].join(' ') };
  const rules = {
    stage: 's',
    maxLength: 8,
    tooLong: undefined,
    tooLongChoices: ['split', 'drop'],
    endIds: new Set([2]),
  };

  it('counts by position and shows what is scored', () => {
    // A pad that equals EOS, unscored, does not count as a trained one.
    const report = auditRows([row([1, 5, 6, 2, 2], [0, 0, 1, 1, 0])], tokenizer, rules);
    expect(report).toMatchObject({ rows: 1, tokens: 5, scored_tokens: 2, bos: 1, eos: 2, scored_eos: 1 });
    expect(report.examples[0]!.spans).toEqual([
      { text: '1 5', scored: false },
      { text: '6 2', scored: true },
      { text: '2', scored: false },
    ]);
  });

  it('names ten of the rows that are too long, and counts rows without a scored token', () => {
    const long = Array.from({ length: 12 }, () => row(Array(9).fill(2), Array(9).fill(1)));
    expect(() => auditRows(long, tokenizer, rules)).toThrowError(
      /^s: 12 of 12 rows have more tokens than max_length leaves room for \(8\): (\S+ \(9\), ){9}\S+ \(9\) and 2 more\.$/,
    );
    const report = auditRows([row([5, 2], [0, 1]), row([5, 6], [0, 0])], tokenizer, rules);
    expect(report.skipped).toEqual({ 'nothing in them is scored': 1 });
  });

  it('counts what is trained of rows that are too long', () => {
    const long = row([1, 5, 5, 5, 6, 6, 6, 6, 6, 2], [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    const short = row([1, 5, 6, 2], [0, 0, 1, 1]);
    const prompt = row([1, 5, 5, 5, 5, 5, 5, 5, 6, 2], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    const audit = (rows: SupervisedRow[], tooLong: 'truncate' | 'split' | 'drop') =>
      auditRows(rows, tokenizer, {
        ...rules,
        tooLong,
        fit: (one: SupervisedRow) => fitRow(one, rules.maxLength, tooLong),
      });
    expect(audit([long, short, prompt], 'truncate')).toMatchObject({
      rows: 3,
      tokens: 20,
      scored_tokens: 6,
      scored_eos: 1,
      too_long: 2,
      skipped: { 'nothing in them is scored': 1 },
    });
    const split = audit([long, short, prompt], 'split');
    expect(split).toMatchObject({ rows: 3, tokens: 26, scored_tokens: 10, scored_eos: 3, too_long: 2 });
    expect(split.skipped).toBeUndefined();
    expect(audit([long, short], 'drop')).toMatchObject({
      tokens: 4,
      scored_tokens: 2,
      skipped: { 'longer than max_length': 1 },
    });
    expect(() => audit([long], 'truncate')).toThrowError(
      expect.objectContaining({ hint: expect.stringContaining('cut off before their end') as string }),
    );
  });

  it.each([
    ['no rows', [], 'data_empty', /no rows/],
    ['nothing scored', [row([5, 2], [0, 0])], 'audit_refused', /no token/],
    ['no end scored', [row([5, 6, 2], [0, 1, 0])], 'audit_refused', /learn to stop/],
    ['two BOS', [row([1, 1, 2], [0, 0, 1])], 'audit_refused', /two BOS/],
    ['a long row', [row([1, 2, 3, 4, 5, 6, 7, 8, 2], [0, 1, 1, 1, 1, 1, 1, 1, 1])], 'data_row_too_long', /9/],
  ])('refuses %s', (_, rows, code, message) => {
    const failing = () => auditRows(rows, tokenizer, rules);
    expect(failing).toThrowError(message);
    expect(failing).toThrowError(expect.objectContaining({ code }));
  });
});

describe('stop strings', () => {
  it('are found across pieces, and nothing of them is shown', () => {
    const stops = new StopStrings(['END', 'EXIT']);
    expect(stops.push('say E')).toBe('say ');
    expect(stops.push('N')).toBe('');
    expect(stops.push('TER E')).toBe('ENTER ');
    expect(stops.push('ND. more')).toBe('');
    expect(stops.matched).toBe(true);
  });
  it('give back what only looked like one', () => {
    const stops = new StopStrings(['\n\n']);
    expect(stops.push('a\n') + stops.end()).toBe('a\n');
    expect(stops.matched).toBe(false);
  });
});

describe('files', () => {
  it('are written whole, with nothing left beside them', async () => {
    await writeFileAtomic(join(dir, 'a.json'), 'one');
    await writeFileAtomic(join(dir, 'a.json'), 'two');
    expect(readFileSync(join(dir, 'a.json'), 'utf8')).toBe('two');
    expect(readdirSync(dir)).toEqual(['a.json']);
    await expect(writeFileAtomic(join(dir, 'no', 'b'), 'x')).rejects.toMatchObject({
      code: 'file_not_found',
    });
  });
  it('are counted against the disk before they are written', async () => {
    await requireDiskSpace(join(dir, 'not', 'there', 'yet'), 1, 'this');
    await expect(requireDiskSpace(dir, 1e18, 'this')).rejects.toMatchObject({ code: 'disk_full' });
  });
  it('journals are cut to what a checkpoint knew', async () => {
    const path = join(dir, 'journal.jsonl');
    const journal = Journal.open(path, 0);
    journal.append({ step: 1 });
    const { bytes } = journal;
    journal.append({ step: 2 });
    journal.close();
    expect(await Journal.holds(path, bytes)).toBe(true);
    expect(await Journal.holds(path, 1000)).toBe(false);
    const again = Journal.open(path, bytes);
    again.append({ step: 3 });
    again.close();
    expect(readFileSync(path, 'utf8')).toBe('{"step":1}\n{"step":3}\n');
    rmSync(path);
  });
});

describe('hashes of values', () => {
  it('do not depend on the order of keys, and do on everything else', () => {
    expect(canonicalJson({ b: [1, { d: undefined, c: null }], a: 'x' })).toBe('{"a":"x","b":[1,{"c":null}]}');
    expect(hashValue({ a: 1, b: 2 })).toBe(hashValue({ b: 2, a: 1 }));
    expect(hashValue({ a: 1 })).not.toBe(hashValue({ a: '1' }));
    expect(() => canonicalJson({ a: Number.NaN })).toThrowError(RangeError);
  });
});
