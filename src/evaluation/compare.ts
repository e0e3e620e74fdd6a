/**
 * Figures of a comparison of models by what they say: how often one beats another, what rewards its responses earn,
 * and how far it has moved from the other.
 */

/** How often one model beats another. */
export interface WinRate {
  rate: number;
  /** Standard error of the rate over prompts; null with fewer than two of them. */
  error: number | null;
}

/**
 * Share of the responses that beat the other's to the same prompt, a tie counted as half. Each prompt has `samples`
 * responses, end to end. Pairs in which one has no score are left out; null when none is left. The error takes the
 * responses to one prompt together, as they rise and fall together: the ratio estimator of cluster sampling
 * (Cochran, 'Sampling Techniques', 6.5), with prompts as clusters.
 */
export function winRate(
  scores: readonly (number | null)[],
  others: readonly (number | null)[],
  samples = 1,
): WinRate | null {
  const clusters: { wins: number; pairs: number }[] = [];
  for (let first = 0; first < scores.length; first += samples) {
    let wins = 0;
    let pairs = 0;
    for (let i = first; i < Math.min(first + samples, scores.length); i++) {
      const [score, other] = [scores[i] ?? null, others[i] ?? null];
      if (score === null || other === null) continue;
      pairs += 1;
      if (score > other) wins += 1;
      else if (score === other) wins += 0.5;
    }
    if (pairs > 0) clusters.push({ wins, pairs });
  }
  const pairs = clusters.reduce((sum, cluster) => sum + cluster.pairs, 0);
  if (pairs === 0) return null;
  const rate = clusters.reduce((sum, cluster) => sum + cluster.wins, 0) / pairs;
  const squares = clusters.reduce((sum, cluster) => sum + (cluster.wins - rate * cluster.pairs) ** 2, 0);
  const count = clusters.length;
  return { rate, error: count < 2 ? null : Math.sqrt((squares * count) / (count - 1)) / pairs };
}

/** Mean over the responses that have a score; null when none has. */
export function meanScore(scores: readonly (number | null)[]): number | null {
  const given = scores.filter((score) => score !== null);
  return given.length === 0 ? null : given.reduce((sum, score) => sum + score, 0) / given.length;
}

/**
 * KL(model || other) in nats a response: the mean of log p(y) - log q(y) over responses that the model drew at
 * temperature 1 (the estimator k1: unbiased, and below zero by chance where the two are near); null of no responses.
 */
export function divergence(own: Float64Array, other: Float64Array): number | null {
  if (own.length === 0) return null;
  let sum = 0;
  own.forEach((logProb, i) => {
    sum += logProb - other[i]!;
  });
  return sum / own.length;
}
