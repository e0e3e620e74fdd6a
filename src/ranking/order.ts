/**
 * Rankings of a prompt's responses: lists of indices, best first, equally good ones together; what is unranked is left
 * out. From scores, from opinions (rankings of all or some of the responses, by people or a judge), and to pairs.
 */

export type Ranking = number[][];

/** Scores nearer than this are the same: sums of weights in another order. */
const EQUAL = 1e-9;

/** Best first; scores that are null are left out. */
export function rankingOf(scores: readonly (number | null)[]): Ranking {
  const order = [...scores.keys()]
    .filter((i) => scores[i] !== null)
    .sort((a, b) => scores[b]! - scores[a]! || a - b);
  const ranking: Ranking = [];
  let level = Number.POSITIVE_INFINITY;
  for (const i of order) {
    if (level - scores[i]! <= EQUAL) ranking.at(-1)!.push(i);
    else ranking.push([i]);
    // From tier to tier by its first member, so that small steps do not add up.
    if (ranking.at(-1)!.length === 1) level = scores[i]!;
  }
  return ranking.map((tier) => tier.sort((a, b) => a - b));
}

/** A ranking of all or some of a prompt's responses, and how much it counts. */
export interface Opinion {
  ranking: Ranking;
  weight: number;
}

/**
 * Scores from opinions: the share of the comparisons with others that a response won, a tie being half a win; null
 * for a response that no opinion compares. Of one full ranking that is Borda's count, scaled to 0 to 1.
 */
export function scoresOf(opinions: readonly Opinion[], responses: number): (number | null)[] {
  const won = Array<number>(responses).fill(0);
  const met = Array<number>(responses).fill(0);
  for (const { ranking, weight } of opinions) {
    for (const { better, worse, tie } of comparisons(ranking)) {
      met[better]! += weight;
      met[worse]! += weight;
      won[better]! += tie ? weight / 2 : weight;
      won[worse]! += tie ? weight / 2 : 0;
    }
  }
  return won.map((wins, i) => (met[i]! > 0 ? wins / met[i]! : null));
}

/** Every two responses of a ranking; of equally good ones `better` is the first. */
export function* comparisons(ranking: Ranking): Generator<{ better: number; worse: number; tie: boolean }> {
  for (const [t, tier] of ranking.entries()) {
    for (const [i, better] of tier.entries()) {
      for (const worse of tier.slice(i + 1)) yield { better, worse, tie: true };
      for (const lower of ranking.slice(t + 1)) {
        for (const worse of lower) yield { better, worse, tie: false };
      }
    }
  }
}

export const PAIRINGS = ['all', 'best_vs_worst', 'adjacent'] as const;
export type Pairing = (typeof PAIRINGS)[number];

export interface Pair {
  chosen: number;
  rejected: number;
  /** Difference of their scores. */
  margin: number;
}

/**
 * Pairs of a ranking: of every two that differ, of the best with the worst, or of each with those next below it.
 * Pairs of equal texts, those that were made already, and those with an empty chosen side are left out, as are those
 * with a margin below `minMargin`.
 */
export function makePairs(
  texts: readonly string[],
  scores: readonly (number | null)[],
  pairing: Pairing,
  minMargin: number,
): Pair[] {
  const ranking = rankingOf(scores);
  const made = new Set<string>();
  const pairs: Pair[] = [];
  for (const [chosen, rejected] of candidates(ranking, pairing)) {
    const key = JSON.stringify([texts[chosen], texts[rejected]]);
    const margin = scores[chosen]! - scores[rejected]!;
    if (texts[chosen] === texts[rejected] || texts[chosen]!.trim() === '' || made.has(key)) continue;
    if (margin < minMargin) continue;
    made.add(key);
    pairs.push({ chosen, rejected, margin });
  }
  return pairs;
}

function candidates(ranking: Ranking, pairing: Pairing): [number, number][] {
  const cross = (upper: number[], lower: number[]) =>
    upper.flatMap((chosen) => lower.map((rejected): [number, number] => [chosen, rejected]));
  if (ranking.length < 2) return [];
  if (pairing === 'best_vs_worst') return [[ranking[0]![0]!, ranking.at(-1)![0]!]];
  return ranking.flatMap((tier, t) =>
    pairing === 'adjacent'
      ? cross(tier, ranking[t + 1] ?? [])
      : ranking.slice(t + 1).flatMap((lower) => cross(tier, lower)),
  );
}

/** Indices of responses with the same text, by the first of them, in order of appearance. */
export function sameTexts(texts: readonly string[]): Map<number, number[]> {
  const groups = new Map<string, number[]>();
  texts.forEach((text, i) => {
    const group = groups.get(text);
    if (group) group.push(i);
    else groups.set(text, [i]);
  });
  return new Map([...groups.values()].map((group) => [group[0]!, group]));
}
