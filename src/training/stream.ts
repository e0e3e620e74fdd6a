/**
 * The order in which rows are trained: an endless stream of microbatches, epoch after epoch, each epoch packed anew
 * from the recipe's seed. A place in the stream is two integers, so that a resumed run goes on exactly there.
 */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { type EpochPlan, type Fill, fillOf, type PackingStrategy, planEpoch } from '../data/pack.ts';
import type { RowSource } from './rows.ts';

/** A place in the stream: the microbatch `index` of `epoch`, both from 0. */
export const cursorSchema = z.strictObject({ epoch: z.int().min(0), index: z.int().min(0) });
export type Cursor = z.infer<typeof cursorSchema>;

/** Rows that the guard has taken out, from a place of the stream on (what lies before it was trained with them). */
export const setAsideSchema = z.strictObject({ from: cursorSchema, rows: z.array(z.int()) });
export type SetAside = z.infer<typeof setAsideSchema>;

/** What the order of rows depends on. */
export type StreamSource = Pick<RowSource, 'lengths' | 'scoredCounts' | 'phaseEnds'>;

export interface StreamOptions {
  /** Longest row, and rows of that length in a microbatch. */
  maxLength: number;
  batchSize: number;
  /** How microbatches are filled with as many rows as have room; null: `batchSize` rows, whatever their length. */
  packing: PackingStrategy | null;
  seed: number;
}

/** Plans the epochs of a source of rows. */
export function epochPlanner(source: StreamSource, options: StreamOptions): (epoch: number) => EpochPlan {
  const { maxLength, batchSize, packing, seed } = options;
  return (epoch) =>
    planEpoch({
      lengths: source.lengths,
      phaseEnds: source.phaseEnds,
      maxTokens: batchSize * maxLength,
      seed,
      epoch,
      ...(packing === null ? { maxSequences: batchSize } : { strategy: packing }),
    });
}

/** How full the microbatches of the first epoch are. */
export function firstFill(source: StreamSource, options: StreamOptions): Fill {
  const { batchSize, maxLength } = options;
  return fillOf(epochPlanner(source, options)(0), source.lengths, batchSize * maxLength);
}

/** The microbatches of one optimiser step. */
export interface StepGroup {
  microbatches: readonly (readonly number[])[];
  /** Scored positions of all of them: what the loss is divided by. */
  scored: number;
  tokens: number;
  /** Where the next step begins. */
  next: Cursor;
}

export class RowStream {
  readonly #source: StreamSource;
  readonly #plan: (epoch: number) => EpochPlan;
  /** The newest two epochs: a step may straddle a border. */
  readonly #epochs = new Map<number, EpochPlan>();

  constructor(source: StreamSource, options: StreamOptions) {
    this.#source = source;
    this.#plan = epochPlanner(source, options);
  }

  /** The `count` microbatches from a place on; those that are empty without the rows set aside are passed over. */
  group(from: Cursor, count: number, setAside: readonly SetAside[]): StepGroup {
    const microbatches: (readonly number[])[] = [];
    let { epoch, index } = from;
    let emptyEpochs = 0;
    while (microbatches.length < count) {
      const all = this.#epoch(epoch);
      if (index >= all.length) {
        epoch += 1;
        index = 0;
        emptyEpochs += 1;
        if (emptyEpochs > 1) {
          throw new AnnealError('data_empty', 'No rows are left to train on: all of them were set aside.', {
            hint: 'Lower the learning rate, or widen max_loss_spike and max_grad_norm_spike.',
          });
        }
        continue;
      }
      const rows = without(all.at(index), { epoch, index }, setAside);
      if (rows.length > 0) {
        microbatches.push(rows);
        emptyEpochs = 0;
      }
      index += 1;
    }
    const rows = microbatches.flat();
    return {
      microbatches,
      scored: rows.reduce((sum, row) => sum + this.#source.scoredCounts[row]!, 0),
      tokens: rows.reduce((sum, row) => sum + this.#source.lengths[row]!, 0),
      next: { epoch, index },
    };
  }

  /** Epochs passed at a place, as a fraction. */
  epochsAt(cursor: Cursor): number {
    return cursor.epoch + cursor.index / this.#epoch(cursor.epoch).length;
  }

  /** Optimiser steps that make up the epochs, or that read the tokens; set-aside rows are not foreseen. */
  countSteps(perStep: number, until: { epochs: number } | { tokens: number }): number {
    if ('epochs' in until) {
      let microbatches = 0;
      const whole = Math.floor(until.epochs);
      for (let epoch = 0; epoch < whole; epoch++) microbatches += this.#epoch(epoch).length;
      if (until.epochs > whole) microbatches += Math.ceil((until.epochs - whole) * this.#epoch(whole).length);
      return Math.max(1, Math.ceil(microbatches / perStep));
    }
    let tokens = 0;
    let steps = 0;
    let cursor: Cursor = { epoch: 0, index: 0 };
    while (tokens < until.tokens) {
      const group = this.group(cursor, perStep, []);
      tokens += group.tokens;
      steps += 1;
      cursor = group.next;
    }
    return steps;
  }

  #epoch(epoch: number): EpochPlan {
    let plan = this.#epochs.get(epoch);
    if (!plan) {
      plan = this.#plan(epoch);
      this.#epochs.set(epoch, plan);
      for (const old of this.#epochs.keys()) {
        if (this.#epochs.size <= 2) break;
        if (old !== epoch) this.#epochs.delete(old);
      }
    }
    return plan;
  }
}

function without(rows: readonly number[], at: Cursor, setAside: readonly SetAside[]): readonly number[] {
  const gone = setAside.filter(
    ({ from }) => from.epoch < at.epoch || (from.epoch === at.epoch && from.index <= at.index),
  );
  if (gone.length === 0) return rows;
  const dropped = new Set(gone.flatMap((entry) => entry.rows));
  return rows.filter((row) => !dropped.has(row));
}
