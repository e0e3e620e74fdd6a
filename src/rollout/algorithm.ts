/**
 * What tells one method of reinforcement learning from another, once completions have been drawn and measured: what
 * it makes of a rollout (advantages), and the loss of some of its samples. One file a method in this folder.
 */
import type { Scores } from '../native/addon.ts';
import type { GrpoStep, PolicyLoss } from '../objectives/grpo.ts';
import type { Rollout } from './rollout.ts';

/** What a method makes of a rollout; a function of the rollout alone. */
export interface Prepared {
  /** 1 for each sample that is trained on. */
  trained: Uint8Array;
  /** Metrics of the rollout, told with each of its steps. */
  metrics: Record<string, number>;
}

/** Counts over a whole optimiser step. */
export interface StepCounts extends GrpoStep {
  /** Completions that are trained on. */
  trained: number;
}

/** A microbatch whose forward pass is done. */
export interface ScoredSamples<P extends Prepared = Prepared> {
  scores: Scores;
  rollout: Rollout;
  prepared: P;
  /** In the order of the scores. */
  samples: readonly number[];
  /** Offsets of the samples' tokens in the scores. */
  offsets: Int32Array;
  step: StepCounts;
}

export interface Algorithm<P extends Prepared = Prepared> {
  prepare(rollout: Rollout): P;
  /** With a value head on the policy the loss is of both, tokens and values. */
  loss(microbatch: ScoredSamples<P>): PolicyLoss;
  /** The loss of the values that a critic of its own gives. Absent: the method has none. */
  valueLoss?(microbatch: ScoredSamples<P>): PolicyLoss;
  metrics(sums: Readonly<Record<string, number>>): Record<string, number>;
}
