/**
 * BCO's underlying-distribution matching: where desirable and undesirable answers have different prompts, each
 * undesirable answer is weighted by how likely its prompt is among the desirable ones. A classifier on embeddings of
 * the prompts says so: logistic regression, balanced between the classes, with the strength of regularisation that
 * TRL's has (C = 1), solved by Newton's method.
 */
import { sigmoid } from '../objectives/numerics.ts';

export interface RatioBounds {
  lowest: number;
  highest: number;
}

/** p(desirable | prompt) / p(undesirable | prompt) of prompts, within bounds, learnt from some of each kind. */
export function densityRatios(
  desirable: readonly ArrayLike<number>[],
  undesirable: readonly ArrayLike<number>[],
  prompts: readonly ArrayLike<number>[],
  bounds: RatioBounds,
): number[] {
  const weights = logisticRegression(desirable, undesirable);
  return prompts.map((embedding) => {
    const ratio = Math.exp(logit(weights, embedding));
    return Math.min(bounds.highest, Math.max(bounds.lowest, ratio));
  });
}

/** Weights of the coordinates and, last, the intercept, which is not regularised. */
export function logisticRegression(
  positive: readonly ArrayLike<number>[],
  negative: readonly ArrayLike<number>[],
): Float64Array {
  const size = positive[0]!.length + 1;
  const total = positive.length + negative.length;
  const rows = [
    ...positive.map((x) => ({ x, label: 1, weight: total / (2 * positive.length) })),
    ...negative.map((x) => ({ x, label: 0, weight: total / (2 * negative.length) })),
  ];
  const weights = new Float64Array(size);
  for (let iteration = 0; iteration < 50; iteration++) {
    const gradient = new Float64Array(size);
    const hessian = Array.from({ length: size }, () => new Float64Array(size));
    for (let i = 0; i + 1 < size; i++) {
      gradient[i] = weights[i]!;
      hessian[i]![i] = 1;
    }
    for (const { x, label, weight } of rows) {
      const p = sigmoid(logit(weights, x));
      const at = (i: number) => (i + 1 < size ? x[i]! : 1);
      const curvature = weight * p * (1 - p);
      for (let i = 0; i < size; i++) {
        gradient[i]! += weight * (p - label) * at(i);
        for (let j = 0; j <= i; j++) hessian[i]![j]! += curvature * at(i) * at(j);
      }
    }
    const step = solve(hessian, gradient);
    let largest = 0;
    step.forEach((change, i) => {
      weights[i]! -= change;
      largest = Math.max(largest, Math.abs(change));
    });
    if (largest < 1e-10) break;
  }
  return weights;
}

function logit(weights: Float64Array, x: ArrayLike<number>): number {
  let z = weights.at(-1)!;
  for (let i = 0; i + 1 < weights.length; i++) z += weights[i]! * x[i]!;
  return z;
}

/** Solves a positive definite system by Cholesky's decomposition of its lower triangle. */
function solve(lower: Float64Array[], right: Float64Array): Float64Array {
  const n = right.length;
  const solution = right.slice();
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let value = lower[i]![j]!;
      for (let k = 0; k < j; k++) value -= lower[i]![k]! * lower[j]![k]!;
      lower[i]![j] = i === j ? Math.sqrt(Math.max(value, 1e-12)) : value / lower[j]![j]!;
    }
    for (let k = 0; k < i; k++) solution[i]! -= lower[i]![k]! * solution[k]!;
    solution[i]! /= lower[i]![i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) solution[i]! -= lower[k]![i]! * solution[k]!;
    solution[i]! /= lower[i]![i]!;
  }
  return solution;
}
