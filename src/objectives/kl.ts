/**
 * Estimates of the KL divergence KL(policy || reference) from the log-probabilities of one sampled token, and the
 * controllers of its coefficient.
 *
 * With d = log policy - log reference (Schulman, "Approximating KL divergence", 2020):
 *   k1 = d                   unbiased, may be negative
 *   k2 = d^2 / 2             low variance, biased; its gradient is that of the true divergence
 *   k3 = exp(-d) - 1 + d     unbiased, never negative
 */
export const klEstimators = ['k1', 'k2', 'k3'] as const;
export type KlEstimator = (typeof klEstimators)[number];

/** The estimate for d = log policy - log reference. */
export function klEstimate(estimator: KlEstimator, d: number): number {
  if (estimator === 'k1') return d;
  if (estimator === 'k2') return 0.5 * d * d;
  return Math.expm1(-d) + d;
}

/** Its derivative with respect to the policy's log-probability. */
export function klSlope(estimator: KlEstimator, d: number): number {
  if (estimator === 'k1') return 1;
  if (estimator === 'k2') return d;
  return -Math.expm1(-d);
}

/** Keeps the divergence of a completion from the reference, in nats, near `target`. */
export interface KlController {
  target: number;
  /** Samples over which an error of one part in one changes the coefficient by that factor. */
  horizon: number;
}

/**
 * The coefficient after a rollout of `samples` completions whose mean divergence was `kl` (Ziegler et al. 2019,
 * section 2.2): coef <- coef (1 + clip(kl / target - 1, -0.2, 0.2) samples / horizon).
 */
export function nextKlCoefficient(
  coefficient: number,
  kl: number,
  samples: number,
  { target, horizon }: KlController,
): number {
  const error = Math.min(Math.max(kl / target - 1, -0.2), 0.2);
  return coefficient * Math.max(0, 1 + (error * samples) / horizon);
}
