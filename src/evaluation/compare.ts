/**
 * Figures of a comparison of models by what they say: how often one beats another, what rewards its responses earn,
 * and how far it has moved from the other.
 */
import type { Batch, Session } from '../native/addon.ts';
import { packSamples } from '../rollout/pack.ts';

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

/** A response with the prompt that it answers. */
export interface Said {
  /** Responses with the same number share their prompt. */
  group: number;
  prompt: Int32Array;
  ids: Int32Array;
}

/** log p of each response, in nats, in batches of at most `maxTokens` tokens; an empty response has 0. */
export async function responseLogProbs(
  session: Session,
  fields: Pick<Batch, 'adapter'>,
  said: readonly Said[],
  maxTokens: number,
): Promise<Float64Array> {
  const sums = new Float64Array(said.length);
  let batch: number[] = [];
  let tokens = 0;
  const run = async () => {
    const { logProbs } = await session.forward({ ...packSamples(batch.map((i) => said[i]!)), ...fields });
    let at = 0;
    for (const i of batch) {
      for (let end = at + said[i]!.ids.length; at < end; at++) sums[i]! += logProbs[at]!;
    }
    batch = [];
    tokens = 0;
  };
  for (const [i, { prompt, ids }] of said.entries()) {
    if (ids.length === 0) continue;
    const more = prompt.length + ids.length;
    if (tokens + more > maxTokens && batch.length > 0) await run();
    batch.push(i);
    tokens += more;
  }
  if (batch.length > 0) await run();
  return sums;
}
