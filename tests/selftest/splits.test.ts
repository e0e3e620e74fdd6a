/** Splits of a pass: what is scored, by which tokens before it and with which weight, stays the same. */
import { expect, it } from 'vitest';
import {
  accumulated,
  inTwoCalls,
  type Pass,
  reversed,
  sharesPrefixes,
  unshared,
} from '../../src/selftest/splits.ts';

// Trees: 0 with 1 and 2 that go on from it, 3 alone, 4 with 5, which has 6. Each token has a number of its own.
const lengths = [3, 2, 1, 4, 2, 3, 2];
const cuSeqlens = Int32Array.from(
  [0, ...lengths].map(
    (
      (sum) => (length) =>
        (sum += length)
    )(0),
  ),
);
const PASS: Pass = {
  batch: {
    tokens: Int32Array.from({ length: cuSeqlens.at(-1)! }, (_, row) => 100 + row),
    cuSeqlens,
    prefix: Int32Array.from([-1, 0, 0, -1, -1, 4, 5]),
    // The last row of a shared prompt is scored twice: once for each that goes on from it.
    scored: Int32Array.from([16, 2, 2, 3, 4, 5, 6, 9, 11, 14]),
    targets: Int32Array.from({ length: 20 }, (_, i) => i),
    targetsPerRow: 2,
    temperature: 0.5,
  },
  gradients: {
    logProbs: Float32Array.from({ length: 20 }, (_, i) => i / 8),
    entropies: Float32Array.from({ length: 10 }, (_, i) => -i),
  },
};

/** Each scored row as the tokens that it sees, its targets and its gradients; sorted. */
function meaning(passes: Pass[]): string[] {
  return passes
    .flatMap((pass) => {
      const { batch } = pass;
      const { logProbs, entropies } = 'gradients' in pass ? pass.gradients : {};
      const seen = (sequence: number): number[] => {
        const prefix = batch.prefix?.[sequence] ?? -1;
        expect(prefix).toBeLessThan(sequence);
        const own = [...batch.tokens.subarray(batch.cuSeqlens[sequence]!, batch.cuSeqlens[sequence + 1]!)];
        return [...(prefix < 0 ? [] : seen(prefix)), ...own];
      };
      return Array.from(batch.scored, (row, n) => {
        const sequence = batch.cuSeqlens.findIndex((end, i) => i > 0 && row < end) - 1;
        const after = batch.cuSeqlens[sequence + 1]! - row - 1;
        const tokens = seen(sequence);
        return JSON.stringify([
          tokens.slice(0, tokens.length - after),
          [...batch.targets.subarray(2 * n, 2 * n + 2)],
          [...logProbs!.subarray(2 * n, 2 * n + 2)],
          entropies![n],
          batch.temperature,
        ]);
      });
    })
    .sort();
}

it('every split scores the same', () => {
  const whole = meaning([PASS]);
  expect(whole).toHaveLength(10);
  expect(meaning(reversed(PASS))).toEqual(whole);
  expect(reversed(PASS)[0]!.batch.tokens).not.toEqual(PASS.batch.tokens);
  for (const parts of [1, 2, 3, 9]) {
    const split = accumulated(PASS, parts);
    expect(split).toHaveLength(Math.min(parts, 3));
    expect(meaning(split)).toEqual(whole);
  }
  for (const maxTokens of [7, 12, 100]) {
    const apart = unshared(PASS, maxTokens);
    expect(apart.some(sharesPrefixes)).toBe(false);
    for (const { batch } of apart) expect(batch.tokens.length).toBeLessThanOrEqual(maxTokens);
    expect(meaning(apart)).toEqual(whole);
  }
  expect(sharesPrefixes(PASS)).toBe(true);
});

it('weights become gradients of the log-probs', () => {
  const { batch } = PASS;
  const { gradients } = inTwoCalls({ batch, weights: Float32Array.from([1, -0.5]) }) as Extract<
    Pass,
    { gradients: object }
  >;
  expect(gradients).toEqual({ logProbs: Float32Array.from([-1, 0.5]) });
  const only = reversed({ batch, weights: Float32Array.from({ length: 20 }, (_, i) => i) });
  expect('weights' in only[0]! && only[0].weights).toHaveLength(20);
});
