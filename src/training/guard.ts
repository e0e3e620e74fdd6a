/**
 * The guard: says when a step is not to be kept, because its loss or gradient is no number or has left the bound
 * that the recipe gives. Bounds are relative to the mean of the last accepted steps.
 */
import { AnnealError } from '../../proto/errors.ts';
import type { TrainerState } from './state.ts';

/** Accepted steps that make the mean. */
const WINDOW = 10;
/** Steps before a bound holds. A loss may be judged by the first one; gradients vary much in the beginning. */
const MIN_LOSSES = 1;
const MIN_GRAD_NORMS = 5;
/** Steps thrown away in a row that end the job. */
const MAX_FAILURES = 3;

export interface GuardBounds {
  /** Nats above the mean; undefined: no bound. */
  maxLossSpike: number | undefined;
  /** Multiple of the mean; undefined: no bound. */
  maxGradNormSpike: number | undefined;
}

/** What is wrong with a loss, or undefined. */
export function lossSpike(loss: number, state: TrainerState, bounds: GuardBounds): string | undefined {
  if (!Number.isFinite(loss)) return `loss ${loss}`;
  const { maxLossSpike } = bounds;
  const average = mean(state.recentLosses, MIN_LOSSES);
  if (maxLossSpike === undefined || average === undefined || loss <= average + maxLossSpike) return undefined;
  return `loss ${loss.toFixed(3)}, more than ${maxLossSpike} above the mean of ${average.toFixed(3)}`;
}

/** What is wrong with a gradient's norm, or undefined. */
export function gradNormSpike(norm: number, state: TrainerState, bounds: GuardBounds): string | undefined {
  if (!Number.isFinite(norm)) return `gradient norm ${norm}`;
  const { maxGradNormSpike } = bounds;
  const average = mean(state.recentGradNorms, MIN_GRAD_NORMS);
  if (maxGradNormSpike === undefined || average === undefined || norm <= average * maxGradNormSpike)
    return undefined;
  return `gradient norm ${norm.toPrecision(3)}, more than ${maxGradNormSpike} times the mean of ${average.toPrecision(3)}`;
}

/** Takes an accepted step into the means; ends a run of failures that it was part of. */
export function acceptStep(state: TrainerState, loss: number, gradNorm: number): void {
  state.recentLosses = [...state.recentLosses, loss].slice(-WINDOW);
  state.recentGradNorms = [...state.recentGradNorms, gradNorm].slice(-WINDOW);
  if (state.step >= state.failingStep) state.failures = 0;
}

/** Counts a step that was thrown away; the third in a row is `training_diverged`. */
export function countFailure(failures: number, step: number, what: string, stage: string): number {
  if (failures + 1 < MAX_FAILURES) return failures + 1;
  throw new AnnealError(
    'training_diverged',
    `${stage}: step ${step} failed ${MAX_FAILURES} times in a row: ${what}.`,
    {
      path: `stages.${stage}.learning_rate`,
      hint: 'Lower learning_rate or lengthen the warm-up; the last good checkpoint is kept.',
    },
  );
}

function mean(values: readonly number[], least: number): number | undefined {
  if (values.length < least) return undefined;
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
