/** Metrics that all methods tell of a rollout, by TRL's names. */
import { samplingMetrics } from './measure.ts';
import { rewardMetrics } from './rewards.ts';
import { type Rollout, sampleCount } from './rollout.ts';

/** Lengths, rewards, and the sampler's difference from the trainer. */
export function rolloutMetrics(rollout: Rollout): Record<string, number> {
  const { scorers, rewards, scores } = rollout;
  const samples = Array.from({ length: sampleCount(rollout) }, (_, i) => i);
  return {
    ...completionMetrics(rollout, samples),
    ...rewardMetrics(scorers, rewards, scores),
    ...samplingMetrics(rollout, samples),
    groups_thrown_away: rollout.groupsThrownAway,
  };
}

/** Lengths of some completions, and how many of them were cut. */
export function completionMetrics(
  { offsets, stopped }: Pick<Rollout, 'offsets' | 'stopped'>,
  samples: readonly number[],
): Record<string, number> {
  const length = (i: number) => offsets[i + 1]! - offsets[i]!;
  const ended = samples.filter((i) => stopped[i] === 1).map(length);
  return {
    ...lengthMetrics('length', samples.map(length)),
    ...lengthMetrics('terminated_length', ended),
    'completions/clipped_ratio': 1 - ended.length / samples.length,
  };
}

/** Of no completions all are 0, as in TRL. */
function lengthMetrics(name: string, lengths: readonly number[]): Record<string, number> {
  const some = lengths.length > 0 ? lengths : [0];
  return {
    [`completions/mean_${name}`]: some.reduce((sum, length) => sum + length, 0) / some.length,
    [`completions/min_${name}`]: Math.min(...some),
    [`completions/max_${name}`]: Math.max(...some),
  };
}
