/**
 * f-DPO (Wang et al. 2023): the reward of an answer is beta f'(policy / reference) for the divergence that keeps the
 * policy near the reference. Up to constants that cancel in the difference of a pair.
 */
import { logSigmoid, sigmoid } from '../numerics.ts';

export const DIVERGENCES = ['reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence'] as const;
export type Divergence = (typeof DIVERGENCES)[number];

/** Largest exponent of the alpha divergence, as in TRL: exp stays in the range of float32. */
const MAX_EXPONENT = 80;

/** f' at the log-ratio `x` = log(policy / reference), and its derivative by x. */
export function divergenceScore(
  divergence: Divergence,
  alpha: number,
  x: number,
): { score: number; slope: number } {
  switch (divergence) {
    case 'reverse_kl': // f'(t) = log t
      return { score: x, slope: 1 };
    case 'forward_kl': // f'(t) = 1 - 1/t
      return { score: -Math.expm1(-x), slope: Math.exp(-x) };
    case 'js_divergence': // f'(t) = log(2t / (t + 1))
      return { score: Math.LN2 + logSigmoid(x), slope: sigmoid(-x) };
    case 'alpha_divergence': {
      // f'(t) = (t^(a-1) - 1) / (a - 1), log t in the limit
      const a = alpha - 1;
      if (Math.abs(a) < 1e-6) return { score: x, slope: 1 };
      const exponent = a * x;
      if (exponent > MAX_EXPONENT) return { score: Math.expm1(MAX_EXPONENT) / a, slope: 0 };
      return { score: Math.expm1(exponent) / a, slope: Math.exp(exponent) };
    }
  }
}
