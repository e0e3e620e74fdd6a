/**
 * Online DPO (Guo et al. 2024): two completions of each prompt, drawn by the policy as it is, the better one by score
 * as chosen. A pair of equal scores, or with a completion that nothing has scored, says nothing and is left out.
 */
import { type DpoSettings, dpo } from '../objectives/dpo/dpo.ts';
import { spans, sumOf } from '../objectives/spans.ts';
import type { Algorithm, Prepared, ScoredSamples } from './algorithm.ts';
import { rolloutMetrics } from './metrics.ts';
import { gather, groupOf, type Rollout, sampleCount } from './rollout.ts';

/** Samples of a group. */
export const PAIR = 2;

export interface OnlineDpoPrepared extends Prepared {
  /** 1 for the better sample of each pair. */
  chosen: Uint8Array;
}

/** Online DPO with these settings of the loss. */
export function onlineDpo(settings: DpoSettings): Algorithm<OnlineDpoPrepared> {
  return {
    prepare: (rollout) => prepare(rollout, settings.beta),
    loss: (microbatch) => pairLoss(microbatch, settings),
    metrics(sums) {
      const pairs = Math.max(1, sums.pairs ?? 0);
      const mean = (name: string) => (sums[name] ?? 0) / pairs;
      return {
        'logps/chosen': mean('chosen_logps'),
        'logps/rejected': mean('rejected_logps'),
        'rewards/chosen': mean('chosen_rewards'),
        'rewards/rejected': mean('rejected_rewards'),
        'rewards/margins': mean('chosen_rewards') - mean('rejected_rewards'),
        'rewards/accuracies': mean('accurate'),
      };
    },
  };
}

function prepare(rollout: Rollout, beta: number): OnlineDpoPrepared {
  const { scores, oldLogProbs, referenceLogProbs, stopped } = rollout;
  const samples = sampleCount(rollout);
  const trained = new Uint8Array(samples);
  const chosen = new Uint8Array(samples);
  let ties = 0;
  let margin = 0;
  for (let first = 0; first < samples; first += PAIR) {
    const difference = scores[first]! - scores[first + 1]!;
    if (difference > 0 || difference < 0) {
      trained.fill(1, first, first + PAIR);
      chosen[difference > 0 ? first : first + 1] = 1;
      margin += Math.abs(difference);
    } else {
      ties += 1;
    }
  }
  const pairs = samples / PAIR;
  const kl = (sumOf(oldLogProbs) - sumOf(referenceLogProbs)) / samples;
  const metrics = rolloutMetrics(rollout);
  return {
    trained,
    chosen,
    metrics: {
      ...metrics,
      frac_reward_zero_std: ties / pairs,
      'objective/kl': kl,
      'objective/entropy': -sumOf(oldLogProbs) / samples,
      'objective/non_score_reward': -beta * kl,
      'objective/rlhf_reward': metrics.reward! - beta * kl,
      'objective/scores': metrics.reward!,
      'objective/scores_margin': margin / Math.max(1, pairs - ties),
      'val/contain_eos_token': sumOf(stopped) / samples,
      beta,
    },
  };
}

function pairLoss(
  { scores, rollout, prepared, samples, offsets, step }: ScoredSamples<OnlineDpoPrepared>,
  settings: DpoSettings,
): ReturnType<Algorithm['loss']> {
  const reference = gather(rollout.referenceLogProbs, rollout, samples);
  /** The answers by group: chosen and rejected, with their places in the scores. */
  const pairs = new Map<
    number,
    { chosen?: readonly [number, number]; rejected?: readonly [number, number] }
  >();
  for (const [start, end, i] of spans(offsets)) {
    const group = groupOf(rollout, samples[i]!);
    const side = prepared.chosen[samples[i]!] === 1 ? 'chosen' : 'rejected';
    pairs.set(group, { ...pairs.get(group), [side]: [start, end] });
  }
  const places = [...pairs.values()].map(({ chosen, rejected }) => ({
    chosen: chosen!,
    rejected: rejected!,
  }));
  const answer = ([start, end]: readonly [number, number]) => ({
    logProbs: scores.logProbs.subarray(start, end),
    reference: reference.subarray(start, end),
  });
  const outcome = dpo(
    places.map(({ chosen, rejected }) => ({ chosen: answer(chosen), rejected: answer(rejected) })),
    settings,
    { sequences: step.trained / PAIR, tokens: step.tokens },
  );
  const logProbs = new Float32Array(scores.logProbs.length);
  places.forEach(({ chosen, rejected }, i) => {
    logProbs.set(outcome.chosen[i]!, chosen[0]);
    logProbs.set(outcome.rejected[i]!, rejected[0]);
  });
  const { chosenRewards, rejectedRewards } = outcome;
  return {
    loss: outcome.loss,
    gradients: { logProbs },
    sums: {
      pairs: places.length,
      chosen_logps: sumOf(outcome.chosenLogps),
      rejected_logps: sumOf(outcome.rejectedLogps),
      chosen_rewards: sumOf(chosenRewards),
      rejected_rewards: sumOf(rejectedRewards),
      accurate: chosenRewards.filter((reward, i) => reward > rejectedRewards[i]!).length,
    },
  };
}
