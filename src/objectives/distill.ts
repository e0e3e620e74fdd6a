/**
 * Distillation from a teacher's most likely tokens: the generalised Jensen-Shannon divergence of GKD (Agarwal et al.
 * 2024, eq. 1) between teacher and student over the teacher's k tokens and one bucket for all others. With k the
 * whole vocabulary it is the exact divergence; otherwise a lower bound of it.
 */
import type { Divisors } from './preference.ts';

export interface DistillSettings {
  /** 0: forward KL, KL(teacher || student). 1: reverse KL. Between: weight of the teacher in the mixture. */
  beta: number;
}

/** Smallest probability of the bucket: differences of float32 sums below it say nothing. */
const SMALLEST_TAIL = 1e-7;

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
  const gradient = new Float64Array(student.length);
  let loss = 0;
  for (let row = 0; row < student.length; row += k) {
    const s = withTail(student, row, k);
    const t = withTail(teacher, row, k);
    // Derivatives of the divergence with respect to the student's k + 1 probabilities.
    const slopes = new Float64Array(k + 1);
    for (let i = 0; i <= k; i++) {
      const { value, slope } = term(t.probs[i]!, s.probs[i]!, t.logs[i]!, s.logs[i]!, settings.beta);
      loss += value / divisors.tokens;
      slopes[i] = slope;
    }
    for (let i = 0; i < k; i++) {
      const tail = s.clamped ? 0 : slopes[k]!;
      gradient[row + i] = (s.probs[i]! * (slopes[i]! - tail)) / divisors.tokens;
    }
  }
  return { loss, gradient };
}

/** Probabilities of the k tokens and of all others together. */
function withTail(logProbs: ArrayLike<number>, row: number, k: number) {
  const logs = new Float64Array(k + 1);
  const probs = new Float64Array(k + 1);
  let rest = 1;
  for (let i = 0; i < k; i++) {
    logs[i] = logProbs[row + i]!;
    probs[i] = Math.exp(logs[i]!);
    rest -= probs[i]!;
  }
  const clamped = rest < SMALLEST_TAIL;
  probs[k] = clamped ? SMALLEST_TAIL : rest;
  logs[k] = Math.log(probs[k]!);
  return { logs, probs, clamped };
}

/** An outcome's share of the divergence, and its derivative by the student's probability s. */
function term(
  t: number,
  s: number,
  logT: number,
  logS: number,
  beta: number,
): { value: number; slope: number } {
  if (beta === 0) return { value: t * (logT - logS), slope: -t / s };
  if (beta === 1) return { value: s * (logS - logT), slope: logS - logT + 1 };
  const logM = Math.log(beta * t + (1 - beta) * s);
  // With M = beta t + (1 - beta) s the derivatives of log M add up to -(1 - beta), which ends the + 1 of s log s.
  return {
    value: beta * t * (logT - logM) + (1 - beta) * s * (logS - logM),
    slope: (1 - beta) * (logS - logM),
  };
}
