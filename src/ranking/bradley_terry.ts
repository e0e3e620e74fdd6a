/**
 * Strengths of models from comparisons (Bradley and Terry 1952): the odds that i is preferred to j are
 * exp(s_i - s_j). A tie is half a win for each. Fitted by Hunter's MM algorithm (2004); intervals by the
 * Bayesian bootstrap (Rubin 1981: exponential weights) over prompts, because comparisons that share one are not
 * independent.
 */
import { DataRandom } from '../data/random.ts';

/** i was preferred to j `wins` times (0.5: a tie counts for both). */
export interface Comparison {
  winner: number;
  loser: number;
  wins: number;
}

export interface Strength {
  /** Log-odds, the mean over models being 0. */
  score: number;
  /** Ends of the 95% interval. */
  low: number;
  high: number;
}

const TOLERANCE = 1e-10;
const MAX_ITERATIONS = 100_000;

/**
 * Log-odds strengths with mean 0 of `wins[i][j]`, how often i was preferred to j. Undefined where none exist: some
 * models were never preferred to any of the others, or never compared with them.
 */
export function bradleyTerry(wins: readonly (readonly number[])[]): number[] | undefined {
  const count = wins.length;
  if (!stronglyConnected(wins)) return undefined;
  const total = wins.map((row) => row.reduce((sum, x) => sum + x, 0));
  let strengths: number[] = wins.map(() => 1);
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const next = strengths.map((own, i) => {
      let met = 0;
      for (let j = 0; j < count; j++) {
        if (j !== i) met += (wins[i]![j]! + wins[j]![i]!) / (own + strengths[j]!);
      }
      return total[i]! / met;
    });
    const scale = Math.exp(next.reduce((sum, x) => sum + Math.log(x), 0) / count);
    const scaled = next.map((x) => x / scale);
    const moved = Math.max(...scaled.map((x, i) => Math.abs(Math.log(x / strengths[i]!))));
    strengths = scaled;
    if (moved < TOLERANCE) break;
  }
  return strengths.map((strength) => Math.log(strength));
}

/**
 * Strengths of `count` models with 95% intervals. `prompts` has the comparisons of each prompt. Each pair of models
 * that met gets one tie in addition, as if by one more prompt, so that a model which never lost has a finite strength
 * and an interval that is honestly wide. Undefined where some models have not been compared with the others, not even
 * through third ones.
 */
export function modelStrengths(
  prompts: readonly (readonly Comparison[])[],
  count: number,
  seed: number,
  resamples = 1_000,
): Strength[] | undefined {
  const all = [...prompts, ...addedTies(prompts, count)];
  const scores = bradleyTerry(winTable(all, count, () => 1));
  if (!scores) return undefined;
  const random = new DataRandom('bootstrap', seed);
  const drawn: number[][] = [];
  for (let r = 0; r < resamples; r++) {
    // Never 0, so that what is connected stays so, and each resample has an estimate.
    const weights = Float64Array.from(all, () => -Math.log((random.next() + 0.5) / 2 ** 32));
    drawn.push(bradleyTerry(winTable(all, count, (p) => weights[p]!))!);
  }
  return scores.map((score, i) => {
    const sorted = drawn.map((sample) => sample[i]!).sort((a, b) => a - b);
    return { score, low: quantile(sorted, 0.025), high: quantile(sorted, 0.975) };
  });
}

/** A tie, as a prompt of its own, of each pair of models that met. */
function addedTies(prompts: readonly (readonly Comparison[])[], count: number): Comparison[][] {
  const met = winTable(prompts, count, () => 1);
  return met.flatMap((row, i) =>
    row.flatMap((wins, j) =>
      j > i && wins + met[j]![i]! > 0
        ? [
            [
              { winner: i, loser: j, wins: 0.5 },
              { winner: j, loser: i, wins: 0.5 },
            ],
          ]
        : [],
    ),
  );
}

function winTable(
  prompts: readonly (readonly Comparison[])[],
  count: number,
  weightOf: (prompt: number) => number,
): number[][] {
  const wins = Array.from({ length: count }, () => Array<number>(count).fill(0));
  for (const [p, comparisons] of prompts.entries()) {
    const weight = weightOf(p);
    for (const { winner, loser, wins: won } of comparisons) wins[winner]![loser]! += won * weight;
  }
  return wins;
}

/** Linear between order statistics. */
function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below]! + (at - below) * (sorted[above]! - sorted[below]!);
}

/** Whether a chain of wins leads from each model to each other: then, and only then, the likelihood has a maximum. */
function stronglyConnected(wins: readonly (readonly number[])[]): boolean {
  const reaches = (edge: (from: number, to: number) => number) => {
    const seen = new Set([0]);
    for (const from of seen) {
      for (let to = 0; to < wins.length; to++) if (edge(from, to) > 0) seen.add(to);
    }
    return seen.size === wins.length;
  };
  return wins.length > 0 && reaches((i, j) => wins[i]![j]!) && reaches((i, j) => wins[j]![i]!);
}
