/** Preference objectives: gradients by finite differences, the registry of loss types, and a user's own loss. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadPairLoss } from '../../src/objectives/dpo/custom.ts';
import { type DpoSettings, dpo } from '../../src/objectives/dpo/dpo.ts';
import type { PairLoss } from '../../src/objectives/dpo/loss.ts';
import { PAIR_LOSSES } from '../../src/objectives/dpo/registry.ts';
import { rankedPairs, rankingLoss } from '../../src/objectives/reward.ts';
import { CASES } from './cases.ts';
import { NUMBERS } from './numbers.ts';

const H = 1e-5;

describe('gradients', () => {
  it.each(CASES.filter(({ detached }) => !detached))('are those of the loss: $name', ({ at, evaluate }) => {
    const { gradient, loss } = evaluate(at);
    expect(Number.isFinite(loss)).toBe(true);
    expect(gradient).toHaveLength(at.length);
    at.forEach((value, i) => {
      const slope = (evaluate(at.with(i, value + H)).loss - evaluate(at.with(i, value - H)).loss) / (2 * H);
      expect(Math.abs(gradient[i]! - slope)).toBeLessThan(1e-7 + 1e-5 * Math.abs(slope));
    });
  });
});

describe('the loss types of dpo', () => {
  it('are all registered', async () => {
    const dir = join(import.meta.dirname, '../../src/objectives/dpo');
    const parts = new Set(['loss.ts', 'dpo.ts', 'divergence.ts', 'custom.ts', 'registry.ts']);
    const defined: string[] = [];
    for (const file of readdirSync(dir).filter((name) => !parts.has(name))) {
      const module = (await import(join(dir, file))) as Record<string, PairLoss>;
      const losses = Object.values(module).filter((value) => typeof value === 'object');
      expect(losses.length, `${file} exports a loss`).toBeGreaterThan(0);
      defined.push(...losses.map(({ name }) => name));
    }
    expect([...PAIR_LOSSES.keys()].sort()).toEqual(defined.sort());
  });
});

describe('rankings', () => {
  it('compare each answer with the worse ones only', () => {
    expect(rankedPairs([[2], [0, 3], [1]])).toEqual([
      [2, 0],
      [2, 3],
      [2, 1],
      [0, 1],
      [3, 1],
    ]);
    const values = [0.5, -1, 2, 40];
    const { gradients } = rankingLoss(
      [{ values, ranking: [[0], [1]], margin: undefined }],
      { centerRewardsCoefficient: 0 },
      { sequences: 1, tokens: 1 },
    );
    expect(Array.from(gradients[0]!.subarray(2))).toEqual([0, 0]);
  });

  it('stay finite for values far apart', () => {
    const { loss, gradients } = rankingLoss(
      [{ values: [-900, 900], ranking: [[0], [1]], margin: undefined }],
      { centerRewardsCoefficient: 0 },
      { sequences: 1, tokens: 1 },
    );
    expect(loss).toBe(1800);
    expect(Array.from(gradients[0]!)).toEqual([-1, 1]);
  });
});

describe("a user's own loss", () => {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-objective-'));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  let count = 0;
  const file = (code: string): string => {
    const path = join(dir, `loss-${count++}.mjs`);
    writeFileSync(path, code);
    return path;
  };
  const evaluate = (loss: PairLoss) => {
    const settings: DpoSettings = {
      losses: [{ loss, weight: 1 }],
      beta: 0.3,
      labelSmoothing: 0,
      discopopTau: 0.05,
      ldAlpha: undefined,
      divergence: 'reverse_kl',
      divergenceAlpha: 0.5,
    };
    const side = (logProbs: number[], reference: number[]) => ({ logProbs, reference });
    const pairs = NUMBERS.chosen.map((logProbs, i) => ({
      chosen: side(logProbs, NUMBERS.ref_chosen[i]!),
      rejected: side(NUMBERS.rejected[i]!, NUMBERS.ref_rejected[i]!),
    }));
    return dpo(pairs, settings, { sequences: 5, tokens: 23 });
  };

  it('written as the docs show it gives the numbers of the built-in one', async () => {
    const docs = readFileSync(join(import.meta.dirname, '../../docs/preference.md'), 'utf8');
    const code = /```js\n(export default[^`]+)```/.exec(docs)![1]!;
    const own = evaluate(await loadPairLoss(file(code), 'loss_type'));
    const builtIn = evaluate(PAIR_LOSSES.get('sigmoid')!);
    expect(own.loss).toBeCloseTo(builtIn.loss, 12);
    own.chosen.forEach((gradient, i) => {
      gradient.forEach((g, t) => {
        expect(g).toBeCloseTo(builtIn.chosen[i]![t]!, 12);
      });
    });
  });

  const zeros = '(p) => Array.from(p.chosenLogps, () => 0)';
  it.each([
    ['does not parse', 'export default (', /cannot be loaded/],
    ['throws while it is loaded', 'throw new Error("early");', /cannot be loaded: early/],
    ['has no function', 'export default 3;', /no function/],
    ['throws', 'export default () => { throw new Error("oh no"); };', /threw an error: oh no/],
    ['returns nothing', 'export default () => {};', /returned no object/],
    ['is asynchronous', 'export default async () => ({});', /promise/],
    [
      'lacks a gradient',
      `const z = ${zeros}; export default (p) => ({ losses: z(p), chosen: z(p) });`,
      /no array `rejected`/,
    ],
    [
      'has a wrong length',
      `const z = ${zeros}; export default (p) => ({ losses: z(p), chosen: [1], rejected: z(p) });`,
      /1 numbers in `chosen` for 5 pairs/,
    ],
    [
      'gives NaN',
      `const z = ${zeros}; export default (p) => ({ losses: z(p).with(2, NaN), chosen: z(p), rejected: z(p) });`,
      /NaN as losses\[2\]/,
    ],
  ])('that %s is an error that names the file', async (_, code, problem) => {
    const path = file(code);
    const failing = async () => evaluate(await loadPairLoss(path, 'stages.dpo.loss_type'));
    await expect(failing()).rejects.toMatchObject({
      code: 'objective_invalid',
      message: expect.stringMatching(problem),
      path: 'stages.dpo.loss_type',
    });
    await expect(failing()).rejects.toThrow(path);
  });
});
