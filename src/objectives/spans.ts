/**
 * Numbers of the sampled tokens of several completions, laid end to end: completion s owns the tokens from
 * `offsets[s]` up to `offsets[s + 1]`. All log-probabilities are in nats. Sums are taken in double precision and in
 * the order of the tokens.
 */

/** [S + 1], rising, from 0 to the number of tokens. */
export type Offsets = ArrayLike<number>;

/** Numbers by token; objectives read engine output (float32) and tests (float64) alike. */
export type Numbers = ArrayLike<number>;

/** The completions of `offsets` as pairs of a first token and the one behind the last. */
export function* spans(offsets: Offsets): Generator<[start: number, end: number, index: number]> {
  for (let s = 0; s + 1 < offsets.length; s++) yield [offsets[s]!, offsets[s + 1]!, s];
}

/** Offsets of completions of these lengths. */
export function offsetsOf(lengths: readonly number[]): Int32Array {
  const offsets = new Int32Array(lengths.length + 1);
  lengths.forEach((length, s) => {
    offsets[s + 1] = offsets[s]! + length;
  });
  return offsets;
}

/** Sum of `values` from `start` up to `end`. */
export function sumOf(values: Numbers, start = 0, end = values.length): number {
  let sum = 0;
  for (let i = start; i < end; i++) sum += values[i]!;
  return sum;
}

/** Mean, and the variance with Bessel's correction; of nothing both are 0, of one number the variance is 0. */
export function meanAndVariance(values: Numbers): { mean: number; variance: number } {
  const count = values.length;
  if (count === 0) return { mean: 0, variance: 0 };
  const mean = sumOf(values) / count;
  let squares = 0;
  for (let i = 0; i < count; i++) squares += (values[i]! - mean) ** 2;
  return { mean, variance: count > 1 ? squares / (count - 1) : 0 };
}
