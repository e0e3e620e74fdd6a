/** The objectives of reinforcement learning: gradients by finite differences, advantages by hand, controllers. */
import { describe, expect, it } from 'vitest';
import {
  generalizedAdvantages,
  groupAdvantages,
  isUniform,
  leaveOneOutAdvantages,
  reinforceAdvantages,
  tokenRewards,
  whiten,
} from '../../src/objectives/advantages.ts';
import { type GrpoStep, grpoLoss, grpoLossTypes, importanceLevels } from '../../src/objectives/grpo.ts';
import { klEstimate, klEstimators, klSlope, nextKlCoefficient } from '../../src/objectives/kl.ts';
import { clippedSurrogate } from '../../src/objectives/policy_gradient.ts';
import { ppoPolicyLoss, ppoValueLoss } from '../../src/objectives/ppo.ts';
import { rlooLoss } from '../../src/objectives/rloo.ts';
import { offsetsOf } from '../../src/objectives/spans.ts';
import { policyCase } from './cases.ts';

const H = 1e-5;

/** Compares a gradient with central differences of a loss in double precision. */
function expectGradient(at: Float64Array, loss: (point: Float64Array) => number, gradient: Float32Array) {
  at.forEach((value, i) => {
    const slope = (loss(at.with(i, value + H)) - loss(at.with(i, value - H))) / (2 * H);
    expect(gradient[i]! - slope).toBeCloseTo(0, 6);
  });
}

const STEP: GrpoStep = { completions: 9, tokens: 31, tokensPerStep: 28.5, maxCompletionLength: 12 };

describe('GRPO', () => {
  const cases = grpoLossTypes.flatMap((lossType) =>
    importanceLevels.flatMap((level) => [0, 0.3].map((beta) => ({ lossType, level, beta }))),
  );
  it.each(cases)('has the gradient of its loss: $lossType by $level, beta $beta', (options) => {
    const { batch, logProbs, entropies } = policyCase(3);
    const full = { ...options, clip: { low: 0.2, high: 0.3, delta: 1.5 }, entropyCoef: 0.05 };
    const loss = (point: Float64Array, entropy: Float64Array) =>
      grpoLoss({ logProbs: point, entropies: entropy }, batch, full, STEP);
    const { gradients } = loss(logProbs, entropies);
    expectGradient(logProbs, (point) => loss(point, entropies).loss, gradients.logProbs!);
    expectGradient(entropies, (point) => loss(logProbs, point).loss, gradients.entropies!);
  });

  it('adds up over microbatches to the loss of the whole step', () => {
    const { batch, logProbs, entropies } = policyCase(4);
    const options = {
      lossType: 'grpo',
      level: 'token',
      beta: 0.1,
      entropyCoef: 0.1,
      clip: { low: 0.2, high: 0.2 },
    } as const;
    const part = (from: number, to: number) => {
      const [start, end] = [batch.offsets[from]!, batch.offsets[to]!];
      const cut = (values: Float64Array) => values.subarray(start, end);
      return grpoLoss(
        { logProbs: cut(logProbs), entropies: cut(entropies) },
        {
          offsets: batch.offsets.slice(from, to + 1).map((offset) => offset - start),
          oldLogProbs: cut(batch.oldLogProbs),
          referenceLogProbs: cut(batch.referenceLogProbs),
          advantages: cut(batch.advantages),
        },
        options,
        STEP,
      ).loss;
    };
    const whole = grpoLoss({ logProbs, entropies }, batch, options, STEP).loss;
    const last = batch.offsets.length - 1;
    expect(part(0, 2) + part(2, last)).toBeCloseTo(whole, 12);
  });
});

describe('RLOO and PPO', () => {
  it('RLOO has the gradient of its loss', () => {
    const { batch, logProbs, entropies } = policyCase(5);
    const near = { ...batch, oldLogProbs: logProbs.map((value, i) => value + 0.03 * Math.sin(i)) };
    const loss = (point: Float64Array) =>
      rlooLoss({ logProbs: point, entropies }, near, { low: 0.05, high: 0.05 }, 7);
    expectGradient(logProbs, (point) => loss(point).loss, loss(logProbs).gradients.logProbs!);
  });
  it('PPO has the gradient of its losses', () => {
    const { batch, logProbs, entropies, values, oldValues, returns } = policyCase(6);
    const options = { cliprange: 0.2, cliprangeValue: 0.3, vfCoef: 0.7, entropyCoef: 0.02 };
    const policy = (point: Float64Array) => ppoPolicyLoss({ logProbs: point, entropies }, batch, options, 40);
    expectGradient(logProbs, (point) => policy(point).loss, policy(logProbs).gradients.logProbs!);
    const value = (point: Float64Array) => ppoValueLoss(point, { oldValues, returns }, options, 40);
    expectGradient(values, (point) => value(point).loss, value(values).gradients.values!);
  });
});

describe('the clipped surrogate', () => {
  const clip = { low: 0.2, high: 0.2 };
  it('has no slope where the advantage pushes the ratio farther out', () => {
    expect(clippedSurrogate(Math.log(1.5), 2, clip)).toMatchObject({ loss: -2.4, slope: 0, high: true });
    expect(clippedSurrogate(Math.log(0.5), -2, clip)).toMatchObject({ loss: 1.6, slope: 0, low: true });
  });
  it('pulls a ratio back that is out on the other side, up to delta', () => {
    expect(clippedSurrogate(Math.log(1.5), -2, clip).slope).toBeCloseTo(3);
    expect(clippedSurrogate(Math.log(1.5), -2, { ...clip, delta: 1.4 }).slope).toBe(0);
  });
});

describe('estimates of the divergence', () => {
  it.each(klEstimators)('%s has the slope of its value and is 0 at equality', (estimator) => {
    expect(klEstimate(estimator, 0)).toBe(0);
    for (const d of [-1.3, -0.1, 0.4, 2]) {
      const slope = (klEstimate(estimator, d + H) - klEstimate(estimator, d - H)) / (2 * H);
      expect(klSlope(estimator, d)).toBeCloseTo(slope, 8);
    }
  });
  it('agree with the divergence of two distributions: k1 and k3 in expectation', () => {
    const policy = [0.5, 0.3, 0.2];
    const reference = [0.4, 0.25, 0.35];
    const exact = policy.reduce((sum, p, i) => sum + p * Math.log(p / reference[i]!), 0);
    for (const estimator of ['k1', 'k3'] as const) {
      const mean = policy.reduce(
        (sum, p, i) => sum + p * klEstimate(estimator, Math.log(p / reference[i]!)),
        0,
      );
      expect(mean).toBeCloseTo(exact, 12);
    }
  });
  it('the controller holds a target, a fifth of the error at most and over the horizon', () => {
    const controller = { target: 4, horizon: 1_000 };
    expect(nextKlCoefficient(0.1, 4, 100, controller)).toBeCloseTo(0.1);
    expect(nextKlCoefficient(0.1, 40, 100, controller)).toBeCloseTo(0.1 * 1.02);
    expect(nextKlCoefficient(0.1, 0, 100, controller)).toBeCloseTo(0.1 * 0.98);
    // A response of the divergence to the coefficient: more weight, less divergence.
    let coefficient = 0.1;
    let kl = 0;
    for (let rollout = 0; rollout < 400; rollout++) {
      kl = 2 / coefficient ** 0.5;
      coefficient = nextKlCoefficient(coefficient, kl, 100, controller);
    }
    expect(kl).toBeCloseTo(4, 1);
  });
});

describe('advantages', () => {
  const rewards = [1, 3, 2, 2, 5, NaN];
  it('of a group: centred, and over its own deviation, the batch, or nothing', () => {
    const none = groupAdvantages(rewards, 2, 'none');
    expect([...none.advantages]).toEqual([-1, 1, 0, 0, 0, 0]);
    const group = groupAdvantages(rewards, 2, 'group');
    expect(group.advantages[1]).toBeCloseTo(1 / (Math.SQRT2 + 1e-4));
    expect(group.zeroDeviation).toBeCloseTo(4 / 6);
    const batch = groupAdvantages(rewards, 2, 'batch');
    expect(batch.advantages[1]).toBeCloseTo(1 / (Math.sqrt(2.3) + 1e-4));
    expect(batch.zeroDeviation).toBe(0);
    expect(isUniform([2, 2, NaN])).toBe(true);
    expect(isUniform([2, 3, NaN])).toBe(false);
  });
  it('leave one out', () => {
    expect([...leaveOneOutAdvantages([1, 2, 6, 4, NaN, 5], 3, false)]).toEqual([-3, -1.5, 4.5, -1, 0, 1]);
    const normal = leaveOneOutAdvantages([1, 2, 6], 3, true);
    expect(normal[0]! + normal[1]! + normal[2]!).toBeCloseTo(0);
  });
  it('REINFORCE++ sums what is to come and normalises over all tokens', () => {
    const offsets = offsetsOf([2, 1]);
    const rewards = tokenRewards([1, -2], [0.5, 1, 2], offsets, 0.1);
    expect([...rewards].map((r) => Math.round(r * 1e9) / 1e9)).toEqual([-0.05, 0.9, -2.2]);
    const expected = whiten([0.85, 0.9, -2.2], true);
    reinforceAdvantages(rewards, offsets).forEach((advantage, t) => {
      expect(advantage).toBeCloseTo(expected[t]!, 12);
    });
  });
  it('generalised estimates are returns less values at lambda 1, and one-step errors at lambda 0', () => {
    const offsets = offsetsOf([3, 2]);
    const rewards = [1, 0, 2, -1, 4];
    const values = [0.5, 0.2, 0.1, 0.3, 0.7];
    const full = generalizedAdvantages(rewards, values, offsets, { gamma: 0.9, lam: 1 });
    expect(full.returns[0]).toBeCloseTo(1 + 0.81 * 2);
    expect(full.returns[3]).toBeCloseTo(-1 + 0.9 * 4);
    expect(full.advantages[3]).toBeCloseTo(full.returns[3]! - 0.3);
    const single = generalizedAdvantages(rewards, values, offsets, { gamma: 0.9, lam: 0 });
    expect(single.advantages[2]).toBeCloseTo(2 - 0.1);
    expect(single.advantages[1]).toBeCloseTo(0 + 0.9 * 0.1 - 0.2);
  });
  it('whitening gives variance 1, and leaves the mean where told', () => {
    const moments = (values: Float64Array) => {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      return [mean, values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)];
    };
    const values = [1, 4, 2, 9];
    expect(moments(whiten(values, true))).toEqual([expect.closeTo(0), expect.closeTo(1)]);
    expect(moments(whiten(values, false))).toEqual([expect.closeTo(4), expect.closeTo(1)]);
  });
});
