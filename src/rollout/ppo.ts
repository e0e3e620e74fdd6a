/**
 * Proximal policy optimisation (Schulman et al. 2017) as used with human feedback (Ziegler et al. 2019): each token
 * pays for its divergence from the reference, the last one gets the completion's score, and a value head on the policy's
 * trunk, or a critic of its own, gives what is to be expected.
 */
import { generalizedAdvantages, tokenRewards, whiten } from '../objectives/advantages.ts';
import { type KlEstimator, klEstimate } from '../objectives/kl.ts';
import { type PpoOptions, ppoMetrics, ppoPolicyLoss, ppoValueLoss } from '../objectives/ppo.ts';
import { sumOf } from '../objectives/spans.ts';
import type { Algorithm, Prepared, ScoredSamples } from './algorithm.ts';
import { rolloutMetrics } from './metrics.ts';
import { gather, type Rollout, sampleCount } from './rollout.ts';

export interface PpoSettings extends PpoOptions {
  /** Where values come from: a head on the policy's trunk, or a critic of its own. */
  critic: 'shared' | 'separate';
  klEstimator: KlEstimator;
  gamma: number;
  lam: number;
  whitenRewards: boolean;
  whitenAdvantages: boolean;
}

export interface PpoPrepared extends Prepared {
  advantages: Float64Array;
  returns: Float64Array;
}

/** PPO with these settings. */
export function ppo(settings: PpoSettings): Algorithm<PpoPrepared> {
  const policyLoss = ({ scores, rollout, prepared, samples, step }: ScoredSamples<PpoPrepared>) => {
    const oldLogProbs = gather(rollout.oldLogProbs, rollout, samples);
    const advantages = gather(prepared.advantages, rollout, samples);
    return ppoPolicyLoss(scores, { oldLogProbs, advantages }, settings, step.tokens);
  };
  const valueLoss = ({ scores, rollout, prepared, samples, step }: ScoredSamples<PpoPrepared>) => {
    const oldValues = gather(rollout.values, rollout, samples);
    const returns = gather(prepared.returns, rollout, samples);
    return ppoValueLoss(scores.values, { oldValues, returns }, settings, step.tokens);
  };
  const shared: Algorithm<PpoPrepared> = {
    prepare: (rollout) => prepare(rollout, settings),
    loss(microbatch) {
      const [policy, value] = [policyLoss(microbatch), valueLoss(microbatch)];
      return {
        loss: policy.loss + value.loss,
        gradients: { ...policy.gradients, ...value.gradients },
        sums: { ...policy.sums, ...value.sums },
      };
    },
    metrics: ppoMetrics,
  };
  return settings.critic === 'shared' ? shared : { ...shared, loss: policyLoss, valueLoss };
}

function prepare(rollout: Rollout, settings: PpoSettings): PpoPrepared {
  const { offsets, oldLogProbs, referenceLogProbs, values, klCoefficient } = rollout;
  const samples = sampleCount(rollout);
  const divergences = Float64Array.from(oldLogProbs, (logProb, t) =>
    klEstimate(settings.klEstimator, logProb - referenceLogProbs[t]!),
  );
  // What nothing has scored is worth nothing.
  const scores = rollout.scores.map((score) => (Number.isNaN(score) ? 0 : score));
  const plain = tokenRewards(scores, divergences, offsets, klCoefficient);
  const rewards = settings.whitenRewards ? whiten(plain, false) : plain;
  const { advantages, returns } = generalizedAdvantages(rewards, values, offsets, settings);
  const kl = sumOf(divergences) / samples;
  const score = sumOf(scores) / samples;
  return {
    trained: new Uint8Array(samples).fill(1),
    advantages: settings.whitenAdvantages ? whiten(advantages, true) : advantages,
    returns,
    metrics: {
      ...rolloutMetrics(rollout),
      'objective/kl': kl,
      'objective/entropy': -sumOf(oldLogProbs) / samples,
      'objective/non_score_reward': -klCoefficient * kl,
      'objective/rlhf_reward': score - klCoefficient * kl,
      'objective/scores': score,
      'objective/kl_coef': klCoefficient,
      'val/num_eos_tokens': rollout.stopped.reduce((sum, stopped) => sum + stopped, 0),
      episode: (rollout.index + 1) * samples,
    },
  };
}
