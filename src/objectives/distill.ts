/**
 * Distillation by the generalised Jensen-Shannon divergence of GKD (Agarwal et al. 2024, eq. 1) between a teacher P and
 * a student Q at each position, over k of the V tokens and, where k < V, one bucket R for all others:
 *
 *   beta 0:  KL(P || Q)      beta 1:  KL(Q || P)
 *   between: beta KL(P || M) + (1 - beta) KL(Q || M),  M = beta P + (1 - beta) Q
 *
 * With k = V that is the divergence itself. With k < V it is the divergence of the two distributions over the k tokens
 * and R, which is a lower bound (lumping outcomes together never adds to an f-divergence). What is missing is the
 * divergence inside of R: P(R) KL(P|R || Q|R) for beta 0, Q(R) KL(Q|R || P|R) for beta 1, and between
 * beta P(R) KL(P|R || M|R) + (1 - beta) Q(R) KL(Q|R || M|R), where P|R is P given that the token is in R. The gradient
 * is that of the bound: it moves the mass of R as a whole, never one token of R against another. Which tokens the k
 * are is a constant to it.
 */
import type { Divisors } from './preference.ts';

export interface DistillSettings {
  /** 0: forward KL, KL(teacher || student). 1: reverse KL. Between: weight of the teacher in the mixture. */
  beta: number;
  /** There are tokens beyond the k: the bucket of the others is an outcome too. */
  rest: boolean;
}

/**
 * Smallest probability of the bucket, which is 1 minus the sum of the k: float32 log-probabilities of logits of some
 * tens are certain to about that, and what lies below it says nothing.
 */
const SMALLEST_REST = 1e-6;

export interface DistillOutcome {
  loss: number;
  /** With respect to the student's log-probabilities, [N * k]. */
  gradient: Float64Array;
}

/**
 * `student` and `teacher`: log-probabilities of the same k tokens of each of N positions, at the same temperature,
 * [N * k]. The loss is the sum over positions divided by the step's tokens.
 */
export function distill(
  student: ArrayLike<number>,
  teacher: ArrayLike<number>,
  k: number,
  settings: DistillSettings,
  divisors: Pick<Divisors, 'tokens'>,
): DistillOutcome {
  const { beta, rest } = settings;
  const gradient = new Float64Array(student.length);
  let loss = 0;
  for (let row = 0; row < student.length; row += k) {
    const s = outcomes(student, row, k, rest);
    const t = outcomes(teacher, row, k, rest);
    // Derivatives of the divergence with respect to the logs of the student's probabilities.
    const slopes = new Float64Array(s.probs.length);
    for (let i = 0; i < slopes.length; i++) {
      const { value, slope } = term(t.probs[i]!, s.probs[i]!, t.logs[i]!, s.logs[i]!, beta);
      loss += value / divisors.tokens;
      slopes[i] = slope;
    }
    // The bucket's probability falls by as much as a token's rises.
    const bucket = !rest || s.clamped ? 0 : slopes[k]! / s.probs[k]!;
    for (let i = 0; i < k; i++) gradient[row + i] = (slopes[i]! - s.probs[i]! * bucket) / divisors.tokens;
  }
  return { loss, gradient };
}

/** The probability of all the tokens together, summed over positions. */
export function supportMass(logProbs: ArrayLike<number>): number {
  let mass = 0;
  for (let i = 0; i < logProbs.length; i++) mass += Math.exp(logProbs[i]!);
  return mass;
}

/** Probabilities of the k tokens and, with `rest`, of all others together. */
function outcomes(logProbs: ArrayLike<number>, row: number, k: number, rest: boolean) {
  const logs = new Float64Array(rest ? k + 1 : k);
  const probs = new Float64Array(logs.length);
  let left = 1;
  for (let i = 0; i < k; i++) {
    logs[i] = logProbs[row + i]!;
    probs[i] = Math.exp(logs[i]!);
    left -= probs[i]!;
  }
  const clamped = left < SMALLEST_REST;
  if (rest) {
    probs[k] = clamped ? SMALLEST_REST : left;
    logs[k] = Math.log(probs[k]!);
  }
  return { logs, probs, clamped };
}

/** An outcome's share of the divergence, and its derivative by the log of the student's probability s. */
function term(
  t: number,
  s: number,
  logT: number,
  logS: number,
  beta: number,
): { value: number; slope: number } {
  if (beta === 0) return { value: t * (logT - logS), slope: -t };
  if (beta === 1) return { value: s * (logS - logT), slope: s * (logS - logT + 1) };
  const most = Math.max(logT, logS);
  const logM = most + Math.log(beta * Math.exp(logT - most) + (1 - beta) * Math.exp(logS - most));
  // With M = beta t + (1 - beta) s the derivatives of log M add up to -(1 - beta), which ends the + 1 of s log s.
  return {
    value: beta * t * (logT - logM) + (1 - beta) * s * (logS - logM),
    slope: (1 - beta) * s * (logS - logM),
  };
}
