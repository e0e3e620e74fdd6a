/**
 * KTO (Ethayarajh et al. 2024): answers that are desirable or not, one by one, against a reference point: the KL
 * divergence from the reference, estimated on answers joined to the prompts of others.
 */
import { sigmoid } from './numerics.ts';
import { type AnswerScores, type Divisors, logRatio, spread, type TokenGradient } from './preference.ts';

export const KTO_LOSSES = ['kto', 'apo_zero_unpaired'] as const;

export interface KtoSettings {
  /** `apo_zero_unpaired`: the same without the reference point (APO, eq. 7, by answer). */
  lossType: (typeof KTO_LOSSES)[number];
  beta: number;
  desirableWeight: number;
  undesirableWeight: number;
}

export interface KtoOutcome {
  loss: number;
  gradients: TokenGradient[];
  logRatios: Float64Array;
}

/** The reference point: mean log-ratio of the mismatched answers, at least 0. No gradient goes through it. */
export function klEstimate(mismatched: readonly AnswerScores[]): number {
  const ratios = mismatched.map(logRatio);
  return Math.max(0, ratios.reduce((a, b) => a + b, 0) / Math.max(1, ratios.length));
}

/** weight (1 - sigmoid(beta (r - kl))) for desirable answers, weight (1 - sigmoid(beta (kl - r))) for the others */
export function kto(
  answers: readonly (AnswerScores & { desirable: boolean })[],
  kl: number,
  settings: KtoSettings,
  divisors: Divisors,
): KtoOutcome {
  const { beta, desirableWeight, undesirableWeight } = settings;
  const point = settings.lossType === 'kto' ? kl : 0;
  const logRatios = Float64Array.from(answers, logRatio);
  let loss = 0;
  const gradients = answers.map(({ logProbs, desirable }, i) => {
    const sign = desirable ? 1 : -1;
    const weight = (desirable ? desirableWeight : undesirableWeight) / divisors.sequences;
    const z = sign * beta * (logRatios[i]! - point);
    loss += weight * sigmoid(-z);
    return spread(-weight * sign * beta * sigmoid(z) * sigmoid(-z), logProbs.length);
  });
  return { loss, gradients, logRatios };
}
