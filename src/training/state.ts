/** The state of a training run beside the engine's: plain numbers, kept exactly by JSON. */
import { z } from 'zod';
import { cursorSchema, setAsideSchema } from './stream.ts';

export const trainerStateSchema = z.strictObject({
  /** Optimiser steps that are done. */
  step: z.int().min(0),
  /** Microbatches of the next step whose gradients are accumulated already. */
  microstep: z.int().min(0),
  /** Their shares of the loss, and the sums that the work's metrics are made of. */
  partialLoss: z.number(),
  partialSums: z.record(z.string(), z.number()),
  /** Where the next step begins in the stream of rows (its first microbatch, whatever `microstep` is). */
  cursor: cursorSchema,
  setAside: z.array(setAsideSchema),
  /** Steps in a row that the guard threw away, and the step that they would have been. */
  failures: z.int().min(0),
  failingStep: z.int().min(0),
  /** Losses and gradient norms of the last accepted steps, for the guard. */
  recentLosses: z.array(z.number()),
  recentGradNorms: z.array(z.number()),
  /** Input tokens trained so far. */
  numTokens: z.int().min(0),
  /** Steps after which validation and samples were last done. */
  validatedStep: z.int().min(0),
  sampledStep: z.int().min(0),
  /** Samples of the model before training, by prompt. */
  samplesBefore: z.array(z.string()),
  /** The step whose weights validated best, and the metric that says so. */
  best: z.strictObject({ step: z.int(), value: z.number() }).nullable(),
  /** Lengths of the files of `records.ts`. */
  metricsBytes: z.int().min(0),
  ledgerBytes: z.int().min(0),
  tensorboardBytes: z.int().min(0),
});
export type TrainerState = z.infer<typeof trainerStateSchema>;

/** The state before the first microbatch. */
export function initialState(): TrainerState {
  return {
    step: 0,
    microstep: 0,
    partialLoss: 0,
    partialSums: {},
    cursor: { epoch: 0, index: 0 },
    setAside: [],
    failures: 0,
    failingStep: 0,
    recentLosses: [],
    recentGradNorms: [],
    numTokens: 0,
    validatedStep: 0,
    sampledStep: 0,
    samplesBefore: [],
    best: null,
    metricsBytes: 0,
    ledgerBytes: 0,
    tensorboardBytes: 0,
  };
}
