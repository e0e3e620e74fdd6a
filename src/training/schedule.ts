/** Learning rates by step. Steps count from 1; the last step still learns a little. */
import type { schedulerTypes } from './settings.ts';

export interface Schedule {
  type: (typeof schedulerTypes)[number];
  peak: number;
  /** Lowest rate as a share of the peak. */
  minRatio: number;
  warmupSteps: number;
  totalSteps: number;
  /** Share of all steps in which `warmup_stable_decay` goes down. */
  decayRatio: number;
}

/** The learning rate of a step. */
export function learningRate(schedule: Schedule, step: number): number {
  const { type, peak, minRatio, warmupSteps, totalSteps, decayRatio } = schedule;
  if (step <= warmupSteps) return (peak * step) / (warmupSteps + 1);
  const decaySteps =
    type === 'warmup_stable_decay' ? Math.round(decayRatio * totalSteps) : totalSteps - warmupSteps;
  const decayStart = Math.max(warmupSteps, totalSteps - decaySteps);
  // 0 at the first decaying step, below 1 at the last.
  const progress = Math.max(0, step - 1 - decayStart) / Math.max(1, totalSteps - decayStart);
  return peak * (minRatio + (1 - minRatio) * shape(type, progress));
}

function shape(type: Schedule['type'], progress: number): number {
  switch (type) {
    case 'constant':
      return 1;
    case 'linear':
    case 'warmup_stable_decay':
      return 1 - progress;
    case 'cosine':
      return 0.5 * (1 + Math.cos(Math.PI * progress));
  }
}
