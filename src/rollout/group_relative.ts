/**
 * GRPO and its relatives, RLOO and REINFORCE++: methods without a critic, whose advantages come from the rewards of a
 * rollout.
 */

import type { Scores } from '../native/addon.ts';
import {
  groupAdvantages,
  isUniform,
  leaveOneOutAdvantages,
  type RewardScale,
  reinforceAdvantages,
  tokenRewards,
} from '../objectives/advantages.ts';
import {
  type GrpoOptions,
  grpoLoss,
  grpoMetrics,
  type PolicyBatch,
  type PolicyLoss,
} from '../objectives/grpo.ts';
import type { ClipRange } from '../objectives/policy_gradient.ts';
import { rlooLoss } from '../objectives/rloo.ts';
import { sumOf } from '../objectives/spans.ts';
import type { Algorithm, Prepared, ScoredSamples, StepCounts } from './algorithm.ts';
import { rolloutMetrics } from './metrics.ts';
import { gather, perToken, type Rollout, sampleCount } from './rollout.ts';

/** Samples with the advantage of each token. */
export interface WithAdvantages extends Prepared {
  advantages: Float64Array;
}

/** How GRPO makes advantages of rewards, and which completions it leaves out. */
export interface GrpoAdvantages {
  scaleRewards: RewardScale;
  maskTruncated: boolean;
}

export interface GrpoSettings extends GrpoOptions, GrpoAdvantages {}

/** Group relative policy optimisation (Shao et al. 2024). */
export function grpo(settings: GrpoSettings): Algorithm<WithAdvantages> {
  return grpoWith(settings, (scores, batch, step) => grpoLoss(scores, batch, settings, step));
}

/** GRPO's advantages with a loss of one's own. */
export function grpoWith(
  settings: GrpoAdvantages,
  loss: (scores: Scores, batch: PolicyBatch, step: StepCounts) => PolicyLoss,
): Algorithm<WithAdvantages> {
  return {
    prepare(rollout) {
      const { scores, groupSize, offsets, stopped } = rollout;
      const { advantages, zeroDeviation } = groupAdvantages(scores, groupSize, settings.scaleRewards);
      return {
        trained: settings.maskTruncated ? stopped : new Uint8Array(sampleCount(rollout)).fill(1),
        advantages: perToken(advantages, offsets),
        metrics: { ...rolloutMetrics(rollout), frac_reward_zero_std: zeroDeviation },
      };
    },
    loss: (microbatch) => loss(microbatch.scores, policyBatch(microbatch), microbatch.step),
    metrics: grpoMetrics,
  };
}

export interface RlooSettings {
  clip: ClipRange;
  normalizeAdvantages: boolean;
  rewardClipRange: readonly [number, number] | undefined;
  maskTruncated: boolean;
}

/** REINFORCE leave one out (Ahmadian et al. 2024): the divergence from the reference is part of the reward. */
export function rloo(settings: RlooSettings): Algorithm<WithAdvantages> {
  return {
    prepare(rollout) {
      const { groupSize, offsets, klCoefficient } = rollout;
      const scores = clipped(rollout.scores, settings.rewardClipRange);
      const rewards = scores.map((score, i) => {
        const [start, end] = [offsets[i]!, offsets[i + 1]!];
        return klCoefficient === 0 ? score : score - klCoefficient * sumOf(logRatios(rollout, start, end));
      });
      const advantages = leaveOneOutAdvantages(rewards, groupSize, settings.normalizeAdvantages);
      return withAdvantages(rollout, settings, perToken(advantages, offsets));
    },
    loss: (microbatch) =>
      rlooLoss(microbatch.scores, policyBatch(microbatch), settings.clip, microbatch.step.completions),
    metrics: grpoMetrics,
  };
}

/**
 * REINFORCE++ (Hu et al. 2025): each token's return, its divergence from the reference paid as it goes, normalised
 * over all tokens of the rollout; PPO's clipped loss, all tokens alike.
 */
export function reinforcePlusPlus(settings: RlooSettings): Algorithm<WithAdvantages> {
  const options = { lossType: 'bnpo', level: 'token', clip: settings.clip, beta: 0, entropyCoef: 0 } as const;
  return {
    prepare(rollout) {
      const { offsets, klCoefficient } = rollout;
      // A sample that nothing has scored counts as average: what it is trained to is its divergence only.
      const scores = clipped(rollout.scores, settings.rewardClipRange);
      const known = scores.filter((score) => !Number.isNaN(score));
      const mean = known.length === 0 ? 0 : sumOf(known) / known.length;
      const divergences = klCoefficient === 0 ? new Float64Array(rollout.ids.length) : logRatios(rollout);
      const rewards = tokenRewards(
        scores.map((score) => (Number.isNaN(score) ? mean : score)),
        divergences,
        offsets,
        klCoefficient,
      );
      return withAdvantages(rollout, settings, reinforceAdvantages(rewards, offsets));
    },
    loss: (microbatch) => grpoLoss(microbatch.scores, policyBatch(microbatch), options, microbatch.step),
    metrics: grpoMetrics,
  };
}

function withAdvantages(
  rollout: Rollout,
  settings: Pick<RlooSettings, 'maskTruncated'>,
  advantages: Float64Array,
): WithAdvantages {
  const { scores, groupSize, stopped, ids } = rollout;
  const groups = scores.length / groupSize;
  let uniform = 0;
  for (let g = 0; g < groups; g++) {
    if (isUniform(scores.subarray(g * groupSize, (g + 1) * groupSize))) uniform += 1;
  }
  const hasReference = rollout.referenceLogProbs.length > 0;
  return {
    trained: settings.maskTruncated ? stopped : new Uint8Array(sampleCount(rollout)).fill(1),
    advantages,
    metrics: {
      ...rolloutMetrics(rollout),
      frac_reward_zero_std: uniform / groups,
      ...(hasReference ? { kl: sumOf(logRatios(rollout)) / ids.length, beta: rollout.klCoefficient } : {}),
    },
  };
}

/** log policy - log reference of the tokens from `start` up to `end`. */
function logRatios(
  { oldLogProbs, referenceLogProbs }: Rollout,
  start = 0,
  end = oldLogProbs.length,
): Float64Array {
  return Float64Array.from(
    { length: end - start },
    (_, i) => oldLogProbs[start + i]! - referenceLogProbs[start + i]!,
  );
}

function clipped(scores: Float64Array, range: readonly [number, number] | undefined): Float64Array {
  return range ? scores.map((score) => Math.min(Math.max(score, range[0]), range[1])) : scores;
}

function policyBatch({ rollout, prepared, samples, offsets }: ScoredSamples<WithAdvantages>): PolicyBatch {
  const { oldLogProbs, referenceLogProbs } = rollout;
  return {
    offsets,
    oldLogProbs: gather(oldLogProbs, rollout, samples),
    referenceLogProbs:
      referenceLogProbs.length === 0 ? undefined : gather(referenceLogProbs, rollout, samples),
    advantages: gather(prepared.advantages, rollout, samples),
  };
}
