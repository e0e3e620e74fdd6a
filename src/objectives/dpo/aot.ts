/**
 * `aot` and `aot_unpaired`: alignment by optimal transport. In one dimension the optimal plan joins sorted values, so
 * the logistic loss is taken of the differences between sorted columns of the microbatch.
 */
import { logSigmoid, sigmoid } from '../numerics.ts';
import type { LossSettings, PairLoss } from './loss.ts';

/** -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d) */
function smoothedLogistic(d: number, { beta, labelSmoothing: e }: LossSettings) {
  const z = beta * d;
  return {
    loss: -(1 - e) * logSigmoid(z) - e * logSigmoid(-z),
    slope: beta * (-(1 - e) * sigmoid(-z) + e * sigmoid(z)),
  };
}

/** Indices in rising order of their values; equal values keep their order. */
function rising(values: Float64Array): number[] {
  return Array.from(values.keys()).sort((a, b) => values[a]! - values[b]!);
}

/** Sorted margins of the policy against sorted margins of the reference. */
export const aotLoss: PairLoss = {
  name: 'aot',
  doc: "The distribution of the policy's margins over that of the reference's (AOT, Melnyk et al. 2024).",
  on: 'ratios',
  sorted: true,
  uses: ['label_smoothing'],
  evaluate(pairs, settings) {
    const n = pairs.chosen.length;
    const margins = pairs.chosenLogps.map((logp, i) => logp - pairs.rejectedLogps[i]!);
    const reference = pairs.refChosenLogps.map((logp, i) => logp - pairs.refRejectedLogps[i]!).sort();
    const losses = new Float64Array(n);
    const chosen = new Float64Array(n);
    rising(margins).forEach((pair, rank) => {
      const { loss, slope } = smoothedLogistic(margins[pair]! - reference[rank]!, settings);
      losses[pair] = loss;
      chosen[pair] = slope;
    });
    return { losses, chosen, rejected: chosen.map((slope) => -slope) };
  },
};

/** Sorted log-ratios of the chosen against sorted log-ratios of the rejected. */
export const aotUnpairedLoss: PairLoss = {
  name: 'aot_unpaired',
  doc: 'The distribution of chosen rewards over that of rejected ones (AOT, Melnyk et al. 2024).',
  on: 'ratios',
  sorted: true,
  uses: ['label_smoothing'],
  evaluate(pairs, settings) {
    const n = pairs.chosen.length;
    const result = {
      losses: new Float64Array(n),
      chosen: new Float64Array(n),
      rejected: new Float64Array(n),
    };
    const rejectedOrder = rising(pairs.rejected);
    rising(pairs.chosen).forEach((c, rank) => {
      const r = rejectedOrder[rank]!;
      const { loss, slope } = smoothedLogistic(pairs.chosen[c]! - pairs.rejected[r]!, settings);
      result.losses[c] = loss;
      result.chosen[c] = slope;
      result.rejected[r] = -slope;
    });
    return result;
  },
};
