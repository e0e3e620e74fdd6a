/** Numbers for tests of the objectives: drawn from a seed, none near a border of clipping. */
import { DataRandom } from '../../src/data/random.ts';
import { offsetsOf } from '../../src/objectives/spans.ts';

/** Lengths of the completions of a case: with one of a single token. */
const LENGTHS = [4, 1, 6, 3, 5];

/** A microbatch of sampled tokens, and values for PPO. */
export function policyCase(seed: number) {
  const random = new DataRandom('objectives', seed);
  const uniform = (low: number, high: number) => low + ((high - low) * random.next()) / 2 ** 32;
  const offsets = [...offsetsOf(LENGTHS)];
  const tokens = offsets.at(-1)!;
  const draw = (low: number, high: number) => Float64Array.from({ length: tokens }, () => uniform(low, high));
  const logProbs = draw(-3, -0.2);
  const shifted = (spread: number) => logProbs.map((value) => value + uniform(-spread, spread));
  const perCompletion = LENGTHS.map(() => uniform(-2, 2));
  const values = draw(-1, 1);
  return {
    logProbs,
    entropies: draw(0.1, 2),
    batch: {
      offsets,
      oldLogProbs: shifted(0.6),
      referenceLogProbs: shifted(0.8),
      advantages: Float64Array.from(LENGTHS.flatMap((length, s) => Array(length).fill(perCompletion[s]!))),
    },
    values,
    oldValues: values.map((value) => value + uniform(-0.6, 0.6)),
    returns: values.map((value) => value + uniform(-1, 1)),
    rewards: LENGTHS.map(() => uniform(-1, 1)),
  };
}
