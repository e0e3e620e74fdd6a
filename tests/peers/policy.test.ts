/**
 * Values, gradients and metrics of the objectives of reinforcement learning against TRL's own losses (GRPO with its
 * relatives, RLOO), fed the same numbers, and against the formulas in PyTorch with autograd.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  generalizedAdvantages,
  groupAdvantages,
  leaveOneOutAdvantages,
  reinforceAdvantages,
  tokenRewards,
  whiten,
} from '../../src/objectives/advantages.ts';
import { grpoLoss, grpoLossTypes, grpoMetrics, importanceLevels } from '../../src/objectives/grpo.ts';
import { klEstimate, klEstimators } from '../../src/objectives/kl.ts';
import { ppoMetrics, ppoPolicyLoss, ppoValueLoss } from '../../src/objectives/ppo.ts';
import { rlooLoss } from '../../src/objectives/rloo.ts';
import { policyCase } from '../rl/cases.ts';

const python = process.env.ANNEAL_PEERS_PYTHON;

interface Reply {
  loss: number;
  logProbs: number[];
  entropies: number[];
  values: number[];
  metrics: Record<string, number>;
  [name: string]: unknown;
}

/** Agreement to 1e-5 of the largest number of a list. */
function expectClose(ours: ArrayLike<number>, theirs: number[]) {
  expect(ours.length).toBe(theirs.length);
  const scale = Math.max(...theirs.map(Math.abs), 1e-12);
  const worst = Math.max(...theirs.map((value, i) => Math.abs(ours[i]! - value))) / scale;
  expect(worst).toBeLessThan(1e-5);
}

function expectMetrics(ours: Record<string, number>, theirs: Record<string, number>, names: string[]) {
  for (const name of names) {
    expect(ours, name).toHaveProperty([name]);
    expectClose([ours[name]!], [theirs[name]!]);
  }
}

const shared = (seed: number) => {
  const { batch, logProbs, entropies } = policyCase(seed);
  const lengths = batch.offsets.slice(1).map((end, s) => end - batch.offsets[s]!);
  return {
    lengths,
    logProbs: [...logProbs],
    entropies: [...entropies],
    oldLogProbs: [...batch.oldLogProbs],
    referenceLogProbs: [...batch.referenceLogProbs],
    advantages: [...batch.advantages],
  };
};

const grpoCases = grpoLossTypes.flatMap((lossType) =>
  importanceLevels.flatMap((level) =>
    [0, 0.3].flatMap((beta) =>
      [undefined, 1.4].map((delta) => ({
        lossType,
        level,
        beta,
        delta,
        low: 0.2,
        high: 0.28,
        entropyCoef: 0,
      })),
    ),
  ),
);
grpoCases.push({ ...grpoCases[0]!, entropyCoef: 0.05 });

const LOSS_STEP = { completions: 11, tokens: 43, tokensPerStep: 37.5, maxCompletionLength: 16 };
const RLOO_OPTIONS = { low: 0.2, high: 0.3 };
const PPO_OPTIONS = { cliprange: 0.2, cliprangeValue: 0.25, vfCoef: 0.4, entropyCoef: 0.03 };
const rolloutCases = klEstimators.flatMap((klEstimator) =>
  [false, true].map((whitenRewards) => ({ klEstimator, whitenRewards, klCoef: 0.2, gamma: 0.97, lam: 0.9 })),
);
const GROUP_REWARDS = [1, 3, 2.5, null, 4, 4, 4, 4, 0, 7, 1, 2];

/** Rows of tokens of one optimiser step that is one microbatch, of two steps a rollout. */
function ownStep(seed: number) {
  const { lengths } = shared(seed);
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  return { completions: lengths.length, tokens, tokensPerStep: 37 / 2, maxCompletionLength: 16 };
}

describe.skipIf(!python)('TRL and PyTorch', () => {
  const requests: object[] = [];
  const ask = (request: object): number => requests.push(request) - 1;
  const grpo = grpoCases.map((options, i) =>
    ask({
      op: 'grpo',
      options,
      maxCompletionLength: 16,
      tokensPerGeneration: 37,
      stepsPerGeneration: 2,
      ...shared(i),
    }),
  );
  const grpoStatements = grpoCases.map((options, i) =>
    ask({ op: 'grpo_statement', options, step: LOSS_STEP, ...shared(i) }),
  );
  const nearOld = (seed: number) => {
    const numbers = shared(seed);
    return { ...numbers, oldLogProbs: numbers.logProbs.map((value, t) => value + 0.08 * Math.sin(t * t)) };
  };
  const rloo = ask({ op: 'rloo', options: RLOO_OPTIONS, tokensPerGeneration: 1, ...nearOld(50) });
  const ppoNumbers = () => {
    const { values, oldValues, returns } = policyCase(60);
    return { ...shared(60), values: [...values], oldValues: [...oldValues], returns: [...returns] };
  };
  const ppo = ask({ op: 'ppo_statement', options: PPO_OPTIONS, ...ppoNumbers() });
  const rolloutNumbers = (seed: number) => {
    const { values, rewards } = policyCase(seed);
    return { ...shared(seed), values: [...values], scores: rewards };
  };
  const rollouts = rolloutCases.map((options, i) =>
    ask({ op: 'rollout_statement', ...options, ...rolloutNumbers(70 + i) }),
  );
  const advantages = ask({ op: 'advantages_statement', rewards: GROUP_REWARDS, groupSize: 4 });

  let replies: Reply[] | undefined;
  const reply = (index: number): Reply => {
    if (!replies) {
      const run = spawnSync(python!, [join(import.meta.dirname, 'policy_peer.py')], {
        input: JSON.stringify(requests),
        maxBuffer: 1 << 28,
        encoding: 'utf8',
        env: { ...process.env, HF_HUB_OFFLINE: '1', OMP_NUM_THREADS: '1' },
      });
      if (run.status !== 0) throw new Error(run.stderr);
      replies = JSON.parse(run.stdout) as Reply[];
    }
    return replies[index]!;
  };
  const own = (i: number, options: (typeof grpoCases)[number], step: typeof LOSS_STEP) => {
    const numbers = shared(i);
    const { offsets } = policyCase(i).batch;
    const { low, high, delta, ...rest } = options;
    return grpoLoss(numbers, { ...numbers, offsets }, { ...rest, clip: { low, high, delta } }, step);
  };

  it.each(grpoCases.map((options, i) => ({ options, i, name: JSON.stringify(options) })))(
    'GRPO as TRL computes it, and as the formula says: $name',
    { timeout: 120_000 },
    ({ options, i }) => {
      const theirs = reply(grpo[i]!);
      const ours = own(i, options, ownStep(i));
      expectClose([ours.loss], [theirs.loss]);
      expectClose(ours.gradients.logProbs!, theirs.logProbs);
      if (options.entropyCoef !== 0) expectClose(ours.gradients.entropies!, theirs.entropies);
      expectMetrics(grpoMetrics(ours.sums), theirs.metrics, [
        'entropy',
        ...(options.beta === 0 ? [] : ['kl']),
        ...Object.keys(theirs.metrics).filter((name) => name.startsWith('clip_ratio/')),
      ]);
      const stated = reply(grpoStatements[i]!);
      const whole = own(i, options, LOSS_STEP);
      expectClose([whole.loss], [stated.loss]);
      expectClose(whole.gradients.logProbs!, stated.logProbs);
    },
  );

  it('RLOO as TRL computes it', { timeout: 120_000 }, () => {
    const theirs = reply(rloo);
    const numbers = nearOld(50);
    const { offsets } = policyCase(50).batch;
    const ours = rlooLoss(numbers, { ...numbers, offsets }, RLOO_OPTIONS, numbers.lengths.length);
    expectClose([ours.loss], [theirs.loss]);
    expectClose(ours.gradients.logProbs!, theirs.logProbs);
    expectMetrics(grpoMetrics(ours.sums), theirs.metrics, Object.keys(theirs.metrics));
  });

  it('PPO as the formulas say', { timeout: 120_000 }, () => {
    const theirs = reply(ppo);
    const numbers = ppoNumbers();
    const policy = ppoPolicyLoss(numbers, numbers, PPO_OPTIONS, numbers.logProbs.length);
    const value = ppoValueLoss(numbers.values, numbers, PPO_OPTIONS, numbers.logProbs.length);
    expectClose([policy.loss + value.loss], [theirs.loss]);
    expectClose(policy.gradients.logProbs!, theirs.logProbs);
    expectClose(policy.gradients.entropies!, theirs.entropies);
    expectClose(value.gradients.values!, theirs.values);
    expectMetrics(ppoMetrics({ ...policy.sums, ...value.sums }), theirs.metrics, Object.keys(theirs.metrics));
  });

  it.each(rolloutCases.map((options, i) => ({ ...options, i })))(
    'rewards and advantages by token: $klEstimator, whitened: $whitenRewards',
    { timeout: 120_000 },
    ({ klEstimator, whitenRewards, klCoef, gamma, lam, i }) => {
      const theirs = reply(rollouts[i]!) as unknown as Record<string, number[]>;
      const numbers = rolloutNumbers(70 + i);
      const { offsets } = policyCase(70 + i).batch;
      const divergences = numbers.logProbs.map((logProb, t) =>
        klEstimate(klEstimator, logProb - numbers.referenceLogProbs[t]!),
      );
      const plain = tokenRewards(numbers.scores, divergences, offsets, klCoef);
      const rewards = whitenRewards ? whiten(plain, false) : plain;
      expectClose(rewards, theirs.rewards!);
      const estimates = generalizedAdvantages(rewards, numbers.values, offsets, { gamma, lam });
      expectClose(estimates.returns, theirs.returns!);
      expectClose(whiten(estimates.advantages, true), theirs.advantages!);
      expectClose(reinforceAdvantages(rewards, offsets), theirs.reinforce!);
    },
  );

  it('advantages of groups', { timeout: 120_000 }, () => {
    const theirs = reply(advantages) as unknown as Record<string, number[]>;
    const rewards = GROUP_REWARDS.map((reward) => reward ?? Number.NaN);
    for (const scale of ['none', 'group', 'batch'] as const) {
      expectClose(groupAdvantages(rewards, 4, scale).advantages, theirs[scale]!);
    }
    expectClose(leaveOneOutAdvantages(rewards, 4, false), theirs.rloo!);
    expectClose(leaveOneOutAdvantages(rewards, 4, true), theirs.normalized!);
  });
});
