/**
 * Direct preference optimisation: a weighted sum of loss types over pairs, from per-token log-probabilities of
 * policy and reference to loss and gradient.
 */
import {
  type AnswerScores,
  type Divisors,
  type PairOutcome,
  type PairScores,
  referenceOf,
  sequenceLogProb,
  spread,
} from '../preference.ts';
import { type Divergence, divergenceScore } from './divergence.ts';
import type { LossSettings, PairLoss, PairNumbers } from './loss.ts';

export interface DpoSettings extends LossSettings {
  losses: readonly { loss: PairLoss; weight: number }[];
  /** LD-DPO's alpha; undefined: off. */
  ldAlpha: number | undefined;
  divergence: Divergence;
  /** Alpha of the alpha divergence. */
  divergenceAlpha: number;
  /** Each pair counts by how likely the policy is to write it; see `pairWeight`. Absent: all count fully. */
  useWeighting?: boolean;
}

/**
 * The weight of a pair (WPO, Zhou et al. 2024, eq. 2): for both answers the geometric mean over tokens of p(token) /
 * sum of p(other)^2, the likelihood measured by that of a sample of the policy. No gradient goes through it.
 */
export function pairWeight({ chosen, rejected }: PairScores): number {
  const aligned = ({ logProbs, logSumSquares }: AnswerScores): number => {
    if (logSumSquares === undefined) throw new TypeError('weighting needs the sums of squared probabilities');
    return (sequenceLogProb(logProbs) - sequenceLogProb(logSumSquares)) / Math.max(1, logProbs.length);
  };
  return Math.exp(aligned(chosen)) * Math.exp(aligned(rejected));
}

/** The objective on the pairs of a microbatch. */
export function dpo(pairs: readonly PairScores[], settings: DpoSettings, divisors: Divisors): PairOutcome {
  const { beta, ldAlpha, divergence, divergenceAlpha } = settings;
  const n = pairs.length;
  const shared = pairs.map(({ chosen, rejected }) =>
    Math.min(chosen.logProbs.length, rejected.logProbs.length),
  );
  const sums = (side: 'chosen' | 'rejected', of: (answer: AnswerScores) => ArrayLike<number>) =>
    Float64Array.from(pairs, (pair, i) => sequenceLogProb(of(pair[side]), shared[i], ldAlpha));
  const numbers = {
    chosenLogps: sums('chosen', ({ logProbs }) => logProbs),
    rejectedLogps: sums('rejected', ({ logProbs }) => logProbs),
    refChosenLogps: sums('chosen', referenceOf),
    refRejectedLogps: sums('rejected', referenceOf),
    chosenLengths: Float64Array.from(pairs, ({ chosen }) => chosen.logProbs.length),
    rejectedLengths: Float64Array.from(pairs, ({ rejected }) => rejected.logProbs.length),
  };
  const ratios = {
    chosen: numbers.chosenLogps.map((logp, i) => logp - numbers.refChosenLogps[i]!),
    rejected: numbers.rejectedLogps.map((logp, i) => logp - numbers.refRejectedLogps[i]!),
  };
  const score = (x: number) => divergenceScore(divergence, divergenceAlpha, x);
  const weights = settings.useWeighting ? pairs.map(pairWeight) : undefined;
  let loss = 0;
  // Gradients with respect to the answers' (weighted) sums, and, of losses on tokens, to each token.
  const gradient = { chosen: new Float64Array(n), rejected: new Float64Array(n) };
  const tokenGradient = { chosen: new Float64Array(n), rejected: new Float64Array(n) };
  for (const { loss: type, weight } of settings.losses) {
    const values = type.evaluate(numbersFor(type, numbers, ratios, pairs, score), settings);
    const share = weight / (type.on === 'tokens' ? divisors.tokens : divisors.sequences);
    const into = type.on === 'tokens' ? tokenGradient : gradient;
    for (let i = 0; i < n; i++) {
      const scale = share * (weights?.[i] ?? 1);
      loss += scale * values.losses[i]!;
      for (const side of ['chosen', 'rejected'] as const) {
        const slope = type.on === 'scores' ? score(ratios[side][i]!).slope : 1;
        into[side][i]! += scale * values[side][i]! * slope;
      }
    }
  }
  const tokens = (side: 'chosen' | 'rejected') =>
    pairs.map((pair, i) =>
      spread(gradient[side][i]!, pair[side].logProbs.length, shared[i], ldAlpha).map(
        (g) => g + tokenGradient[side][i]!,
      ),
    );
  return {
    loss,
    chosen: tokens('chosen'),
    rejected: tokens('rejected'),
    chosenLogps: numbers.chosenLogps,
    rejectedLogps: numbers.rejectedLogps,
    chosenRewards: ratios.chosen.map((ratio) => beta * ratio),
    rejectedRewards: ratios.rejected.map((ratio) => beta * ratio),
  };
}

/** The numbers as a loss type wants them. */
function numbersFor(
  type: PairLoss,
  numbers: Omit<PairNumbers, 'chosen' | 'rejected'>,
  ratios: { chosen: Float64Array; rejected: Float64Array },
  pairs: readonly PairScores[],
  score: (x: number) => { score: number },
): PairNumbers {
  if (type.on === 'ratios') return { ...numbers, ...ratios };
  if (type.on === 'scores') {
    return {
      ...numbers,
      chosen: ratios.chosen.map((x) => score(x).score),
      rejected: ratios.rejected.map((x) => score(x).score),
    };
  }
  // Likelihoods of tokens know nothing of LD-DPO's weights.
  const full = (side: 'chosen' | 'rejected') =>
    Float64Array.from(pairs, (pair) => sequenceLogProb(pair[side].logProbs));
  return { ...numbers, ...ratios, chosenLogps: full('chosen'), rejectedLogps: full('rejected') };
}
