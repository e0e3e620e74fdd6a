/** Packing of an epoch: nothing lost, nothing padded, budgets kept, the same plan from the same seed. */
import { describe, expect, it } from 'vitest';
import { contentCrc, copiesCounter, splitFraction } from '../../src/data/mix.ts';
import { type EpochOptions, fillOf, planEpoch } from '../../src/data/pack.ts';
import { DataRandom } from '../../src/data/random.ts';

function microbatches(options: EpochOptions): number[][] {
  const plan = planEpoch(options);
  return Array.from({ length: plan.length }, (_, i) => plan.at(i));
}

function randomLengths(count: number, longest: number): number[] {
  const random = new DataRandom('lengths', count);
  return Array.from({ length: count }, () => random.below(longest) + 1);
}

const base = { maxTokens: 256, seed: 3, epoch: 0 };

describe('planEpoch', () => {
  it('places every row once and keeps the budget', () => {
    const lengths = randomLengths(500, 256);
    const plan = microbatches({ ...base, lengths });
    for (const rows of plan) {
      expect(rows.reduce((sum, row) => sum + lengths[row]!, 0)).toBeLessThanOrEqual(256);
    }
    expect(plan.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, row) => row));
  });

  it('fills microbatches: at most 3% of the tokens stay empty', () => {
    const lengths = randomLengths(5000, 66);
    const tokens = lengths.reduce((sum, length) => sum + length, 0);
    expect(tokens / (microbatches({ ...base, lengths }).length * 256)).toBeGreaterThan(0.97);
  });

  it('fills more with the longest rows first, whose order is still shuffled', () => {
    const lengths = randomLengths(5000, 256);
    const fill = (strategy: 'best_fit' | 'bfd', epoch = 0) =>
      fillOf(planEpoch({ ...base, lengths, strategy, epoch }), lengths, 256);
    expect(fill('bfd').mean).toBeGreaterThan(fill('best_fit').mean);
    expect(fill('bfd').mean).toBeGreaterThan(0.99);
    const plan = microbatches({ ...base, lengths, strategy: 'bfd' });
    expect(plan.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, row) => row));
    for (const rows of plan) {
      const each = rows.map((row) => lengths[row]!);
      expect(each).toEqual(each.toSorted((a, b) => b - a));
    }
    expect(plan).not.toEqual(microbatches({ ...base, lengths, strategy: 'bfd', epoch: 1 }));
  });

  it('says how full microbatches are', () => {
    const lengths = [200, 50, 6, 128];
    const plan = planEpoch({ ...base, lengths, strategy: 'bfd' });
    expect(fillOf(plan, lengths, 256)).toEqual({ microbatches: 2, mean: 0.75, min: 0.5 });
    expect(fillOf(planEpoch({ ...base, lengths: [] }), [], 256)).toEqual({
      microbatches: 0,
      mean: 0,
      min: 0,
    });
  });

  it('depends on seed and epoch only, and mixes', () => {
    const lengths = randomLengths(300, 62);
    expect(microbatches({ ...base, lengths })).toEqual(microbatches({ ...base, lengths }));
    expect(microbatches({ ...base, lengths })).not.toEqual(microbatches({ ...base, lengths, epoch: 1 }));
    expect(microbatches({ ...base, lengths })).not.toEqual(microbatches({ ...base, lengths, seed: 4 }));
    const first = microbatches({ ...base, lengths })[0]!;
    expect(Math.max(...first) - Math.min(...first)).toBeGreaterThan(20);
  });

  it('keeps the bound on sequences', () => {
    const plan = microbatches({ ...base, lengths: Array(100).fill(3), maxSequences: 7 });
    expect(Math.max(...plan.map(({ length }) => length))).toBe(7);
    expect(plan.flat()).toHaveLength(100);
  });

  it('takes no row that has no room, and has no microbatch but its own', () => {
    expect(() => planEpoch({ ...base, lengths: [5, 257] })).toThrow('row 1 has 257 of 256 tokens');
    expect(() => planEpoch({ ...base, lengths: [0] })).toThrow(RangeError);
    expect(planEpoch({ ...base, lengths: [] }).length).toBe(0);
    expect(() => planEpoch({ ...base, lengths: [5] }).at(1)).toThrow(RangeError);
  });
});

describe('mixing', () => {
  const crcs = Array.from({ length: 4000 }, (_, i) => contentCrc(Buffer.from(`doc ${i}`)));

  it('takes whole copies and a share of the documents, which depends on the seed', () => {
    expect(copiesCounter(1)(2, crcs[0]!)).toBe(2);
    const copies = (seed: number): number[] => crcs.map((crc) => copiesCounter(seed)(1.25, crc));
    expect(new Set(copies(1))).toEqual(new Set([1, 2]));
    expect(copies(1).filter((count) => count === 2).length / 4000).toBeCloseTo(0.25, 1);
    expect(copies(1)).toEqual(copies(1));
    expect(copies(1)).not.toEqual(copies(2));
  });

  it('holds out a share of the contents', () => {
    const held = crcs.filter((crc) => splitFraction(crc) < 0.25);
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
