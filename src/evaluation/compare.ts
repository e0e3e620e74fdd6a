/**
 * Figures of a comparison of models by what they say: how often one beats another, what rewards its responses earn,
 * and how far it has moved from the other.
 */

/**
 * Share of the responses that beat the other's to the same prompt, a tie counted as half. Pairs in which one has no
 * score are left out; null when none is left.
 */
export function winRate(
  scores: readonly (number | null)[],
  others: readonly (number | null)[],
): number | null {
  let wins = 0;
  let pairs = 0;
  scores.forEach((score, i) => {
    const other = others[i];
    if (score === null || other === null || other === undefined) return;
    pairs += 1;
    if (score > other) wins += 1;
    else if (score === other) wins += 0.5;
  });
  return pairs === 0 ? null : wins / pairs;
}

/** Mean over the responses that have a score; null when none has. */
export function meanScore(scores: readonly (number | null)[]): number | null {
  const given = scores.filter((score) => score !== null);
  return given.length === 0 ? null : given.reduce((sum, score) => sum + score, 0) / given.length;
}

/**
 * KL(model || other) in nats a response: the mean of log p(y) - log q(y) over responses that the model drew at
 * temperature 1 (the estimator k1: unbiased, and below zero by chance where the two are near).
 */
export function divergence(own: Float64Array, other: Float64Array): number {
  let sum = 0;
  own.forEach((logProb, i) => {
    sum += logProb - other[i]!;
  });
  return sum / own.length;
}
