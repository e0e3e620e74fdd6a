/**
 * The seam between the training loop and what it trains. The loop (`trainer.ts`) owns steps, schedule, optimiser,
 * checkpoints, guard, metrics and ledger; the work owns rows and objective. Supervised, preference and reinforcement
 * stages are each a `Work`.
 *
 * A work is a function of the recipe, the weights and the cursor: asked again for the same step with the same
 * weights it does the same, bit for bit. State beyond that (a rollout) is written to the work folder before the
 * first step that uses it, and is found again by the cursor.
 */
import type { Session, StepResult } from '../native/addon.ts';
import type { Cursor, SetAside } from './stream.ts';

/** A place in a work: which epoch (or rollout) and which microbatch of it, both from 0. */
export type { Cursor, SetAside };

/** The microbatches of one optimiser step. */
export interface WorkGroup {
  microbatches: number;
  /** Row ids of each microbatch, for the ledger and for setting aside; `origin` names them. */
  rows: readonly (readonly number[])[];
  /** Input tokens of all microbatches. */
  tokens: number;
  /** Where the next step begins. */
  next: Cursor;
}

/** Sums over microbatches, by name: whatever the work needs for its metrics. They must survive JSON exactly. */
export type Sums = Record<string, number>;

/** Computes the metrics of the validation rows with the weights as they are. */
export type Validate = (boundary: () => Promise<void>) => Promise<Record<string, number>>;

/** The metric of the validation rows that tells which weights are best. */
export interface BestBy {
  metric: string;
  /** Whether more of it is better. */
  greater: boolean;
}

/** What is best where a work does not say. */
export const LOWEST_LOSS: BestBy = { metric: 'eval_loss', greater: false };

/**
 * Weights that are trained beside the model's (a critic): they are stepped with it, their gradient clipped by itself,
 * and they are part of its snapshots and checkpoints.
 */
export interface Companion {
  /** Its metrics are `<name>/grad_norm` and `<name>/learning_rate`. */
  name: string;
  /** A session of its own, or the model's where it is an adapter of it. */
  session: Session;
  /** The adapter that is trained; undefined: the base is. */
  adapter: number | undefined;
  /** The highest of its schedule, whose shape is the model's. */
  learningRate: number;
}

/** State that changes with the steps, kept as a session's is: by snapshots, which go into the checkpoints. */
export type Kept = Pick<
  Session,
  'snapshot' | 'restoreSnapshot' | 'clearGradients' | 'writeSnapshot' | 'readSnapshot'
>;

export interface Work<Group extends WorkGroup = WorkGroup> {
  /**
   * The microbatches of the step that begins at `cursor`, without the rows set aside. May take long (a rollout):
   * calls `boundary` between its units of work.
   */
  group(cursor: Cursor, setAside: readonly SetAside[], boundary: () => Promise<void>): Promise<Group>;
  /**
   * Computes one microbatch and adds its gradients to the engine's; returns its share of the step's loss (shares
   * add up to the loss, which has been divided once by the whole step's divisor) and the sums for the metrics.
   */
  microbatch(group: Group, index: number): Promise<{ loss: number; tokens: number; sums: Sums }>;
  /** Milliseconds that the engine has waited for data since this was last asked; absent: it is not measured. */
  takeWait?(): number;
  /** The step's metrics by TRL's names beside `loss`, `learning_rate`, `grad_norm`, `epoch` and `num_tokens`. */
  metrics(sums: Sums, group: Group): Record<string, number>;
  /**
   * Called when the step has been applied, with its number from 1: what a work adapts from step to step goes by the
   * metrics only, or is `kept`.
   */
  applied?(group: Group, result: StepResult, step: number): void | Promise<void>;
  /** Optimiser steps in all. */
  totalSteps: number;
  /** Epochs passed at a place, as a fraction. */
  epochsAt(cursor: Cursor): number;
  /** Where a row came from, for the ledger and for messages. */
  origin(row: number): string;
  /** Metrics of the validation rows; absent: there are none. */
  validate?: Validate | undefined;
  /** Absent: `LOWEST_LOSS`. */
  bestBy?: BestBy;
  /** What is trained beside the model; absent: nothing. */
  companions?: readonly Companion[];
  /** What else the steps change (a reference that follows the model); absent: nothing. */
  kept?: readonly Kept[] | undefined;
}
