/**
 * What objectives over answers share: per-token log-probabilities of an answer under policy and reference, their
 * sums, and the way back from a gradient of the sums to a gradient of the tokens.
 *
 * Conventions: log-probabilities in nats; `[n]` is an array with an entry a pair (or answer); a loss is a share of the
 * step's, divided once by a count of the whole step (`Divisors`); gradients are those of that share. Everything is
 * computed in double precision.
 */

/** The tokens of an answer, the closing token included. */
export interface AnswerScores {
  /** Under the policy. */
  logProbs: ArrayLike<number>;
  /** Under the reference; undefined where the objective has none. */
  reference: ArrayLike<number> | undefined;
  /** Log of the policy's sum of squared probabilities at each token; read by `useWeighting` alone. */
  logSumSquares?: ArrayLike<number>;
}

export interface PairScores {
  chosen: AnswerScores;
  rejected: AnswerScores;
}

/** Counts over all microbatches of the step. */
export interface Divisors {
  /** Pairs, answers or rankings: what a loss per sequence is divided by. */
  sequences: number;
  /** Scored tokens of chosen answers (with the prompt's, where they are scored): what a loss per token is divided by. */
  tokens: number;
}

/** Gradient with respect to the policy's log-probabilities of one answer. */
export type TokenGradient = Float64Array;

/** A loss with its gradient for each answer, and of each pair, [n], what the metrics are made of. */
export interface PairOutcome {
  loss: number;
  chosen: TokenGradient[];
  rejected: TokenGradient[];
  /** Log-probabilities of the answers as the loss has them: sums (weighted, where it weights), or means of tokens. */
  chosenLogps: Float64Array;
  rejectedLogps: Float64Array;
  chosenRewards: Float64Array;
  rejectedRewards: Float64Array;
}

/**
 * Weights of the tokens of an answer in its sum. LD-DPO (Liu et al. 2024): what goes beyond the shorter answer of
 * the pair counts `alpha` only. undefined: all count fully.
 */
export function tokenWeight(position: number, shared: number, alpha: number | undefined): number {
  return alpha === undefined || position < shared ? 1 : alpha;
}

/** Weighted sum of the log-probabilities of an answer whose first `shared` tokens count fully. */
export function sequenceLogProb(
  logProbs: ArrayLike<number>,
  shared = logProbs.length,
  alpha: number | undefined = undefined,
): number {
  let total = 0;
  for (let t = 0; t < logProbs.length; t++) total += tokenWeight(t, shared, alpha) * logProbs[t]!;
  return total;
}

/** Spreads the gradient of an answer's sum over its tokens. */
export function spread(
  gradient: number,
  length: number,
  shared = length,
  alpha: number | undefined = undefined,
): TokenGradient {
  return Float64Array.from({ length }, (_, t) => gradient * tokenWeight(t, shared, alpha));
}

/** Log-ratio of policy to reference for a whole answer. */
export function logRatio(answer: AnswerScores): number {
  return sequenceLogProb(answer.logProbs) - sequenceLogProb(referenceOf(answer));
}

/** The reference's log-probabilities of an answer; an objective that needs them is never run without. */
export function referenceOf(answer: AnswerScores): ArrayLike<number> {
  if (answer.reference === undefined) throw new TypeError('the objective needs reference log-probabilities');
  return answer.reference;
}
