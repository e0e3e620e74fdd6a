/**
 * What a DPO loss type is: a function from numbers of whole answers to a loss for each pair and its gradient. The
 * formulas are those of TRL's DPOTrainer, each with its paper.
 */

/** Numbers of the pairs of a microbatch, `[n]` each. */
export interface PairNumbers {
  /** Log-probability of the answer under the policy, and under the reference. */
  chosenLogps: Float64Array;
  rejectedLogps: Float64Array;
  refChosenLogps: Float64Array;
  refRejectedLogps: Float64Array;
  /** Scored tokens of the answer. */
  chosenLengths: Float64Array;
  rejectedLengths: Float64Array;
  /** What the loss compares: log-ratios of policy to reference, or f'(ratio) for losses on `scores`. */
  chosen: Float64Array;
  rejected: Float64Array;
}

export interface LossSettings {
  beta: number;
  labelSmoothing: number;
  discopopTau: number;
}

/** Loss of each pair, and its gradient with respect to `chosen` and `rejected` of the same (or, sorted, any) pair. */
export interface PairLossValues {
  losses: ArrayLike<number>;
  chosen: ArrayLike<number>;
  rejected: ArrayLike<number>;
}

export interface PairLoss {
  name: string;
  /** What it does and where it is from. */
  doc: string;
  /**
   * `scores`: it depends on the difference of rewards only, and so allows every f-divergence. `ratios`: it looks at
   * the log-ratios themselves. `tokens`: it is a mean over the tokens of the chosen answers, whose loss is the sum of
   * what `evaluate` gives, divided by tokens.
   */
  on: 'scores' | 'ratios' | 'tokens';
  /** Settings beside beta that change it. */
  uses?: readonly ('label_smoothing' | 'discopop_tau')[];
  /** It compares sorted numbers, so that what it gives at a place is of no one pair. Absent: no. */
  sorted?: true;
  evaluate(pairs: PairNumbers, settings: LossSettings): PairLossValues;
}

/** A loss of one pair at a time: value and derivatives from the two numbers of the pair. */
export function pairwise(
  loss: (
    chosen: number,
    rejected: number,
    pair: { chosenLength: number; rejectedLength: number },
    settings: LossSettings,
  ) => { loss: number; chosen: number; rejected: number },
): PairLoss['evaluate'] {
  return (pairs, settings) => {
    const n = pairs.chosen.length;
    const result = {
      losses: new Float64Array(n),
      chosen: new Float64Array(n),
      rejected: new Float64Array(n),
    };
    for (let i = 0; i < n; i++) {
      const lengths = { chosenLength: pairs.chosenLengths[i]!, rejectedLength: pairs.rejectedLengths[i]! };
      const value = loss(pairs.chosen[i]!, pairs.rejected[i]!, lengths, settings);
      result.losses[i] = value.loss;
      result.chosen[i] = value.chosen;
      result.rejected[i] = value.rejected;
    }
    return result;
  };
}

/** A loss of the difference d = chosen - rejected alone. */
export function ofDifference(
  loss: (difference: number, settings: LossSettings) => { loss: number; slope: number },
): PairLoss['evaluate'] {
  return pairwise((chosen, rejected, _, settings) => {
    const { loss: value, slope } = loss(chosen - rejected, settings);
    return { loss: value, chosen: slope, rejected: -slope };
  });
}
