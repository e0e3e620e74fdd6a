/**
 * BCO (Jung et al. 2024): a binary classifier of desirable and undesirable answers whose logit is the reward less a
 * shift `delta`, the running mean of all rewards. Underlying-distribution matching weights the undesirable answers
 * by how much their prompts look like those of desirable ones.
 */
import { logSigmoid, sigmoid } from './numerics.ts';
import { type AnswerScores, type Divisors, logRatio, spread, type TokenGradient } from './preference.ts';

export interface BcoOutcome {
  loss: number;
  gradients: TokenGradient[];
  logRatios: Float64Array;
}

/** Log-ratio rewards beta (policy - reference) of answers: what the running mean is taken of. */
export function bcoRewards(answers: readonly AnswerScores[], beta: number): Float64Array {
  return Float64Array.from(answers, (answer) => beta * logRatio(answer));
}

/** -log sigmoid(r - delta) for desirable answers, -weight log sigmoid(delta - r) for the others */
export function bco(
  answers: readonly (AnswerScores & { desirable: boolean; weight: number })[],
  delta: number,
  settings: { beta: number },
  divisors: Divisors,
): BcoOutcome {
  const { beta } = settings;
  const logRatios = Float64Array.from(answers, logRatio);
  let loss = 0;
  const gradients = answers.map(({ logProbs, desirable, weight }, i) => {
    const sign = desirable ? 1 : -1;
    const share = (desirable ? 1 : weight) / divisors.sequences;
    const z = sign * (beta * logRatios[i]! - delta);
    loss -= share * logSigmoid(z);
    return spread(-share * sign * beta * sigmoid(-z), logProbs.length);
  });
  return { loss, gradients, logRatios };
}
