/** Packing of an epoch: nothing lost, nothing padded, budgets kept, the same plan from the same seed. */
import { describe, expect, it } from 'vitest';
import { copiesFor, splitFraction } from '../../src/data/mix.ts';
import { type EpochOptions, type Piece, planEpoch } from '../../src/data/pack.ts';
import { DataRandom } from '../../src/data/random.ts';

function pieces(options: EpochOptions): Piece[][] {
  const plan = planEpoch(options);
  return Array.from({ length: plan.length }, (_, i) => plan.at(i));
}

function randomLengths(count: number, longest: number): number[] {
  const random = new DataRandom('lengths', count);
  return Array.from({ length: count }, () => random.below(longest + 1));
}

const base = { maxTokens: 256, maxLength: 64, seed: 3, epoch: 0, longDocuments: 'split' } as const;

describe('planEpoch', () => {
  it('predicts every token but the first of each document exactly once', () => {
    const lengths = randomLengths(500, 300);
    const predicted = lengths.map((length) => new Uint8Array(length));
    for (const microbatch of pieces({ ...base, lengths })) {
      expect(microbatch.reduce((sum, { length }) => sum + length, 0)).toBeLessThanOrEqual(256);
      for (const { document, start, length } of microbatch) {
        expect(length).toBeGreaterThanOrEqual(2);
        expect(length).toBeLessThanOrEqual(64);
        for (let i = start + 1; i < start + length; i++) predicted[document]![i]! += 1;
      }
    }
    for (const counts of predicted) expect([...counts]).toEqual([...counts].map((_, i) => (i === 0 ? 0 : 1)));
  });

  it('fills microbatches: at most 3% of the tokens stay empty', () => {
    const lengths = randomLengths(5000, 64).map((length) => length + 2);
    const plan = pieces({ ...base, maxLength: 66, lengths });
    const tokens = lengths.reduce((sum, length) => sum + length, 0);
    expect(tokens / (plan.length * 256)).toBeGreaterThan(0.97);
  });

  it('depends on seed and epoch only, and mixes', () => {
    const lengths = randomLengths(300, 60).map((length) => length + 2);
    expect(pieces({ ...base, lengths })).toEqual(pieces({ ...base, lengths }));
    expect(pieces({ ...base, lengths })).not.toEqual(pieces({ ...base, lengths, epoch: 1 }));
    expect(pieces({ ...base, lengths })).not.toEqual(pieces({ ...base, lengths, seed: 4 }));
    const first = pieces({ ...base, lengths })[0]!.map(({ document }) => document);
    expect(Math.max(...first) - Math.min(...first)).toBeGreaterThan(20);
  });

  it('keeps the bound on sequences', () => {
    const plan = pieces({ ...base, lengths: Array(100).fill(3), maxSequences: 7 });
    expect(Math.max(...plan.map(({ length }) => length))).toBe(7);
    expect(plan.flat()).toHaveLength(100);
  });

  it('refuses long documents when told to, leaves out those with nothing to predict', () => {
    expect(() => planEpoch({ ...base, lengths: [5, 65], longDocuments: 'refuse' })).toThrow(
      expect.objectContaining({ code: 'data_row_too_long' }),
    );
    expect(planEpoch({ ...base, lengths: [0, 1] }).length).toBe(0);
    expect(() => planEpoch({ ...base, lengths: [5] }).at(1)).toThrow(RangeError);
  });
});

describe('mixing', () => {
  const documents = Array.from({ length: 4000 }, (_, i) => Buffer.from(`doc ${i}`));

  it('takes whole copies and a share of the documents, which depends on the seed', () => {
    expect(copiesFor(2, documents[0]!, 1)).toBe(2);
    const copies = (seed: number): number[] => documents.map((document) => copiesFor(1.25, document, seed));
    expect(new Set(copies(1))).toEqual(new Set([1, 2]));
    expect(copies(1).filter((count) => count === 2).length / 4000).toBeCloseTo(0.25, 1);
    expect(copies(1)).toEqual(copies(1));
    expect(copies(1)).not.toEqual(copies(2));
  });

  it('holds out a share of the contents', () => {
    const held = documents.filter((document) => splitFraction(document) < 0.25);
    expect(held.length / 4000).toBeCloseTo(0.25, 1);
  });
});

describe('DataRandom', () => {
  it('gives the same numbers everywhere, uniform below a bound', () => {
    const random = new DataRandom('a', 1);
    expect([random.next(), random.next(), random.next()]).toMatchInlineSnapshot(`
      [
        3617672376,
        547025920,
        2964337606,
      ]
    `);
    const counts = new Uint32Array(6);
    for (let i = 0; i < 6000; i++) counts[random.below(6)]! += 1;
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});
