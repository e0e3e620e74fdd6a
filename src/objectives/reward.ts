/**
 * Reward models: scalar values of answers against their order. Bradley-Terry for pairs is Plackett-Luce for two
 * answers, so there is one objective: the likelihood of a ranking (Plackett 1975; Luce 1959), with a margin where a
 * pair has one, and the pull of rewards towards 0 (Eisenstein et al. 2023).
 */
import type { Divisors } from './preference.ts';

export interface RankedValues {
  /** Values of the answers. */
  values: ArrayLike<number>;
  /** Indices of `values`, best first; those that are equally good stand together. */
  ranking: readonly (readonly number[])[];
  /** By how much the better of a pair is to be above the other (Touvron et al. 2023, eq. 2); pairs only. */
  margin: number | undefined;
}

export interface RewardOutcome {
  loss: number;
  /** With respect to the values of each ranking. */
  gradients: Float64Array[];
}

/**
 * Sum over the answers i of log(e^(v_i - m) + sum of e^(v_j) over the worse j) - (v_i - m). Equally good answers are
 * not compared with each other; the last tier, which is above nothing, adds nothing. Each ranking counts once.
 */
export function rankingLoss(
  rankings: readonly RankedValues[],
  settings: { centerRewardsCoefficient: number },
  divisors: Divisors,
): RewardOutcome {
  const outcome: RewardOutcome = { loss: 0, gradients: [] };
  for (const { values, ranking, margin } of rankings) {
    const gradient = new Float64Array(values.length);
    let loss = 0;
    ranking.forEach((tier, t) => {
      const worse = ranking.slice(t + 1).flat();
      if (worse.length === 0) return;
      for (const i of tier) {
        const rivals = [values[i]! - (margin ?? 0), ...worse.map((j) => values[j]!)];
        const highest = Math.max(...rivals);
        const weights = rivals.map((v) => Math.exp(v - highest));
        const total = weights.reduce((a, b) => a + b, 0);
        loss += highest + Math.log(total) - rivals[0]!;
        gradient[i]! += weights[0]! / total - 1;
        worse.forEach((j, k) => {
          gradient[j]! += weights[k + 1]! / total;
        });
      }
    });
    const ranked = ranking.flat();
    // (2 mean)^2: of a pair the square of the sum, as TRL has it.
    const center = (2 * ranked.reduce((total, i) => total + values[i]!, 0)) / ranked.length;
    const pull = settings.centerRewardsCoefficient;
    loss += pull * center * center;
    for (const i of ranked) gradient[i]! += (4 * pull * center) / ranked.length;
    outcome.loss += loss / divisors.sequences;
    outcome.gradients.push(gradient.map((g) => g / divisors.sequences));
  }
  return outcome;
}

/** Pairs of a ranking, as [better, worse] indices: what accuracy is counted on. */
export function rankedPairs(ranking: readonly (readonly number[])[]): [number, number][] {
  return ranking.flatMap((tier, t) =>
    ranking
      .slice(t + 1)
      .flat()
      .flatMap((worse) => tier.map((better): [number, number] => [better, worse])),
  );
}
