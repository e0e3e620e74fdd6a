/**
 * The view where there is no terminal to draw on: one line for what happens, and a line of progress now and then.
 * How often is told by the times of the events, not by a clock, so a job watched afterwards prints the same.
 */
import type { JobEvent } from '../../../proto/events.ts';
import {
  formatBytes,
  formatCompact,
  formatCount,
  formatDuration,
  formatMetric,
  formatShare,
} from '../format.ts';
import { clean } from '../text.ts';
import { waitsForData } from './bars.ts';
import { type BlockOptions, renderBlock } from './blocks.ts';
import { shownMetrics } from './metrics.ts';
import type { JobView, StageView } from './model.ts';

/** Seconds between two lines of progress of one stage. */
export const PROGRESS_SECONDS = 10;

/** A function from each event, and the view after it, to the lines to print. It remembers when it last told progress. */
export function createPlainRenderer(options: BlockOptions): (view: JobView, event: JobEvent) => string[] {
  let told = Number.NEGATIVE_INFINITY;
  return (view, event) => {
    switch (event.kind) {
      case 'stage': {
        told = event.time;
        const { stage, phase, index, count, seconds, error } = event.body;
        const took = phase === 'finished' && seconds !== null ? ` in ${formatDuration(seconds)}` : '';
        const why = error === undefined ? '' : `: ${clean(error.message)}`;
        return [`[${index + 1}/${count}] ${stage}: ${phase}${took}${why}`];
      }
      case 'queue':
        return [`${view.name} (${view.id}): ${event.body.text}`];
      case 'progress': {
        const last = event.body.total !== null && event.body.done >= event.body.total;
        if (!last && event.time - told < PROGRESS_SECONDS) return [];
        told = event.time;
        return progressLine(view, event.body.stage);
      }
      case 'validation': {
        const metrics = Object.entries(event.body.metrics).map(
          ([name, value]) => `${name} ${formatMetric(value)}`,
        );
        return [
          `${event.body.stage}: validation at step ${formatCount(event.body.step)}: ${metrics.join(', ')}`,
        ];
      }
      case 'checkpoint':
        return [
          `${event.body.stage}: checkpoint at step ${formatCount(event.body.step)} (${formatBytes(event.body.bytes)})`,
        ];
      case 'state':
        return [`${view.name} (${view.id}): ${event.body.state}`, ...renderBlock(event, options)];
      default:
        return renderBlock(event, options);
    }
  };
}

function progressLine(view: JobView, name: string): string[] {
  const stage = view.stages.find((other) => other.name === name);
  return stage === undefined ? [] : [`${name}: ${progressFacts(stage).join(', ')}`];
}

function progressFacts(stage: StageView): string[] {
  const { done, total, unit, metrics, speed } = stage;
  const number = unit === 'byte' ? formatBytes : formatCount;
  const facts = [
    total === null
      ? `${unit} ${number(done)}`
      : `${unit} ${number(done)} of ${number(total)} (${formatShare(total === 0 ? 1 : done / total)})`,
  ];
  const shown = shownMetrics(stage.type);
  const names = new Set([shown.curve[0], ...shown.facts.map(([name]) => name), 'learning_rate', 'grad_norm']);
  for (const name of names) {
    if (metrics[name] !== undefined) facts.push(`${name} ${formatMetric(metrics[name])}`);
  }
  if (speed?.tokens_per_second != null) facts.push(`${formatCompact(speed.tokens_per_second)} tok/s`);
  if (speed?.matrix_share != null) facts.push(`${formatShare(speed.matrix_share)} of matrix speed`);
  if (speed && waitsForData(speed)) facts.push(`${formatShare(speed.data_wait_share!)} waiting for data`);
  if (speed && speed.memory_bytes > 0) facts.push(formatBytes(speed.memory_bytes));
  if (speed?.eta_seconds != null && done !== total) facts.push(`${formatDuration(speed.eta_seconds)} left`);
  return facts;
}
