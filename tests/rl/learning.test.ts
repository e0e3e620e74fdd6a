/** Policies that begin badly learn a task that a program checks, by each method and from each of three seeds. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { PAIR_LOSSES } from '../../src/objectives/dpo/registry.ts';
import type { Scorer } from '../../src/rewards/scorer.ts';
import type { Algorithm } from '../../src/rollout/algorithm.ts';
import { grpo, reinforcePlusPlus, rloo } from '../../src/rollout/group_relative.ts';
import { onlineDpo } from '../../src/rollout/online_dpo.ts';
import { type LearningOptions, lastMean, learn, weakPolicy } from './task.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-learning-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const clip = { low: 0.2, high: 0.2 };
const grpoSettings = {
  lossType: 'dapo',
  level: 'token',
  clip,
  beta: 0,
  entropyCoef: 0,
  scaleRewards: 'group',
  maskTruncated: false,
} as const;
const rlooSettings = { clip, normalizeAdvantages: false, rewardClipRange: undefined, maskTruncated: false };
const dpoSettings = {
  beta: 0.1,
  labelSmoothing: 0,
  discopopTau: 1,
  losses: [{ loss: PAIR_LOSSES.get('sigmoid')!, weight: 1 }],
  ldAlpha: undefined,
  divergence: 'reverse_kl',
  divergenceAlpha: 0,
} as const;

type Case = [name: string, algorithm: () => Algorithm, changes?: Partial<LearningOptions>];
const CASES: Case[] = [
  ['GRPO', () => grpo(grpoSettings) as Algorithm],
  [
    'GRPO by sequence, two passes, dynamic sampling',
    () =>
      grpo({
        ...grpoSettings,
        lossType: 'grpo',
        level: 'sequence',
        clip: { low: 0.1, high: 0.15 },
      }) as Algorithm,
    { maker: { maxDraws: 4 }, work: { plan: { passes: 2, batchSize: 64, accumulation: 2, seed: 1 } } },
  ],
  ['RLOO', () => rloo(rlooSettings) as Algorithm],
  ['REINFORCE++', () => reinforcePlusPlus(rlooSettings) as Algorithm, { learningRate: 1.5e-3, steps: 120 }],
];

describe.each(CASES)('%s', (_, algorithm, changes) => {
  it.each([1, 2, 3])('learns the task, seed %d', async (seed) => {
    const session = await weakPolicy(seed);
    try {
      const history = await learn({
        session,
        algorithm: algorithm(),
        seed,
        steps: 80,
        learningRate: 3e-3,
        dir: join(dir, `${_}-${seed}`),
        ...changes,
      });
      expect(history[0]!.reward).toBeLessThan(0.5);
      expect(lastMean(history, 'reward', 10)).toBeGreaterThan(0.75);
      for (const metrics of history)
        expect(metrics['sampling/sampling_logp_difference/max']).toBeLessThan(1e-4);
    } finally {
      await session.close();
    }
  });
});

describe('online DPO', () => {
  it('learns the task from pairs of its own answers', async () => {
    const [session, reference] = [await weakPolicy(1), await weakPolicy(1, { trainable: true })];
    try {
      const shape = { groups: 64, groupSize: 2 };
      const history = await learn({
        session,
        algorithm: onlineDpo(dpoSettings) as Algorithm,
        seed: 1,
        steps: 80,
        learningRate: 3e-3,
        dir: join(dir, 'online'),
        measures: { reference },
        maker: shape,
        work: shape,
      });
      expect(lastMean(history, 'reward', 5)).toBeGreaterThan(0.8);
      expect(lastMean(history, 'rewards/accuracies', 5)).toBeGreaterThan(0.5);
    } finally {
      await Promise.all([session.close(), reference.close()]);
    }
  });
});

describe('a reward that is not what is meant', () => {
  /** Pays for the digit 9, whatever the question. */
  const hackable: Scorer = {
    name: 'nine',
    score: async (responses) => responses.map(({ ids }) => (ids[0] === 9 ? 1 : 0)),
    close: async () => {},
  };
  const divergence = (metrics: Record<string, number>) => metrics.kl! * metrics['completions/mean_length']!;

  it('drives the policy off without a guard; the controller holds the divergence at its target', async () => {
    const run = async (target: number | undefined) => {
      const [session, reference] = [await weakPolicy(1), await weakPolicy(1)];
      try {
        const history = await learn({
          session,
          algorithm: rloo(rlooSettings) as Algorithm,
          seed: 1,
          steps: 150,
          learningRate: 2e-3,
          dir: join(dir, `guard-${target}`),
          measures: { reference },
          maker: {
            scorers: [{ scorer: hackable, weight: 1 }],
            klController: target === undefined ? undefined : { target, horizon: 1_000 },
          },
          work: { klCoefficient: target === undefined ? 0 : 0.2 },
        });
        return history.slice(-30).reduce((sum, metrics) => sum + divergence(metrics), 0) / 30;
      } finally {
        await Promise.all([session.close(), reference.close()]);
      }
    };
    const target = 0.5;
    expect(await run(undefined)).toBeGreaterThan(3 * target);
    const held = await run(target);
    expect(held).toBeGreaterThan(0.8 * target);
    expect(held).toBeLessThan(1.2 * target);
  });
});
