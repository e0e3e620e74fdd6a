/**
 * Cross-entropy: the negative log-likelihood of the targets, summed over scored positions and divided once by
 * `divisor`, the scored positions of the whole step. The weights are known before the forward pass, so that a
 * trainer can take the one-pass road (`forwardBackward`).
 */
import type { Scores } from '../native/addon.ts';

/** Weight of each scored position in the loss. */
export function crossEntropyWeights(count: number, divisor: number): Float32Array {
  return new Float32Array(count).fill(1 / divisor);
}

/** Sum in double precision and in the order of the positions. */
export function total(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

/** Sum of negative log-probabilities in nats. */
export function negativeLogLikelihood(logProbs: Float32Array): number {
  return -total(logProbs);
}

/** Loss and its gradient with respect to the scores of a microbatch. */
export function crossEntropy(
  scores: Pick<Scores, 'logProbs'>,
  divisor: number,
): { loss: number; gradients: { logProbs: Float32Array } } {
  const logProbs = new Float32Array(scores.logProbs.length).fill(-1 / divisor);
  return { loss: negativeLogLikelihood(scores.logProbs) / divisor, gradients: { logProbs } };
}
