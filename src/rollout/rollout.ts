/**
 * A rollout: completions of some prompts, drawn with one version of the weights, and all that is measured of them
 * before the first of them is trained on. It is kept as a file, so that a run that was killed finds it again; what
 * can be computed from it (advantages) is not kept.
 *
 * Sample i is completion i % groupSize of group floor(i / groupSize); its tokens are those from offsets[i] up to
 * offsets[i + 1].
 */
import { spans } from '../objectives/spans.ts';

export interface Rollout {
  /** Number of the rollout, from 0: the version of the weights that drew it. */
  index: number;
  /** Prompts of the groups, as indices. */
  prompts: Int32Array;
  groupSize: number;
  /** [samples + 1] */
  offsets: Int32Array;
  /** Tokens as drawn, the stop token included where one ended the completion. */
  ids: Int32Array;
  /** 1 where a stop token ended the completion, 0 where it was cut. */
  stopped: Uint8Array;
  /** As the sampler saw them, by token, at the temperature of sampling. */
  sampledLogProbs: Float32Array;
  /** As the trainer sees them with the same weights. */
  oldLogProbs: Float32Array;
  /** Entropy of the next-token distribution at each token, in nats, with the same weights. */
  entropies: Float32Array;
  /** Under the reference; empty: there is none. */
  referenceLogProbs: Float32Array;
  /** Value of the state before each token; empty: there are none. */
  values: Float32Array;
  /** Names of the scorers, and their numbers [samples * scorers], NaN where one said nothing. */
  scorers: string[];
  rewards: Float64Array;
  /** Weighted sum over scorers, penalties included, by sample; NaN where no scorer said anything. */
  scores: Float64Array;
  /** Weight of the divergence from the reference in this rollout's rewards or loss. */
  klCoefficient: number;
  /** Groups that were drawn and thrown away because all of their rewards were the same. */
  groupsThrownAway: number;
  /** What the next rollout begins with. */
  next: RolloutState;
}

/** What goes on from rollout to rollout. */
export interface RolloutState {
  /** Place in the order of prompts. */
  position: number;
  klCoefficient: number;
}

/** Samples of a rollout. */
export function sampleCount(rollout: Rollout): number {
  return rollout.offsets.length - 1;
}

/** The group that a sample belongs to. */
export function groupOf(rollout: Pick<Rollout, 'groupSize'>, sample: number): number {
  return Math.floor(sample / rollout.groupSize);
}

/** Tokens of a sample's completion. */
export function sampleIds(rollout: Pick<Rollout, 'ids' | 'offsets'>, sample: number): Int32Array {
  return rollout.ids.subarray(rollout.offsets[sample]!, rollout.offsets[sample + 1]!);
}

/** Tokens of several samples' completions. */
export function tokenCount(rollout: Pick<Rollout, 'offsets'>, samples: readonly number[]): number {
  return samples.reduce((sum, sample) => sum + rollout.offsets[sample + 1]! - rollout.offsets[sample]!, 0);
}

/** Numbers by token of some samples, laid end to end in the order of `samples`. */
export function gather(
  values: ArrayLike<number>,
  rollout: Pick<Rollout, 'offsets'>,
  samples: readonly number[],
): Float64Array {
  const gathered = new Float64Array(tokenCount(rollout, samples));
  let at = 0;
  for (const sample of samples) {
    for (let t = rollout.offsets[sample]!; t < rollout.offsets[sample + 1]!; t++) {
      gathered[at] = values[t]!;
      at += 1;
    }
  }
  return gathered;
}

/** Puts numbers by token of some samples, end to end, to their places. */
export function scatter(
  into: Float32Array,
  values: ArrayLike<number>,
  rollout: Pick<Rollout, 'offsets'>,
  samples: readonly number[],
): void {
  let at = 0;
  for (const sample of samples) {
    for (let t = rollout.offsets[sample]!; t < rollout.offsets[sample + 1]!; t++) {
      into[t] = values[at]!;
      at += 1;
    }
  }
}

/** A number of each sample, repeated for its tokens. */
export function perToken(values: ArrayLike<number>, offsets: Int32Array): Float64Array {
  const repeated = new Float64Array(offsets.at(-1)!);
  for (const [start, end, sample] of spans(offsets)) repeated.fill(values[sample]!, start, end);
  return repeated;
}
