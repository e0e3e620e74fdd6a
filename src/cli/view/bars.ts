/**
 * The part of the live view that is drawn again and again: a head line and one bar per stage, from the model, the
 * width of the terminal and the time. Pure: the same arguments give the same lines, none wider than `width`.
 */
import type { EventBody } from '../../../proto/events.ts';
import {
  formatBytes,
  formatCompact,
  formatCount,
  formatDuration,
  formatMetric,
  formatShare,
} from '../format.ts';
import { clean, displayWidth, type Paint, pad, truncate } from '../text.ts';
import { shownMetrics } from './metrics.ts';
import type { JobView, StageView } from './model.ts';

export interface BarOptions {
  width: number;
  /** Most lines that may be used; finished stages give way first. */
  height: number;
  paint: Paint;
  /** Unix seconds. */
  now: number;
}

const INDENT = '  ';
const SEPARATOR = ' · ';
const LEAST_SPARKS = 8;
const MOST_SPARKS = 32;
const SPARKS = '▁▂▃▄▅▆▇█';

/** The lines of a job as it stands. */
export function renderBars(view: JobView, options: BarOptions): string[] {
  const head = headLine(view, options);
  const begun = view.stages.filter((stage) => stage.phase !== 'waiting');
  const nameWidth = Math.min(20, Math.max(0, ...begun.map((stage) => displayWidth(stage.name))));
  const blocks = begun.map((stage) => stageLines(stage, nameWidth, options));
  const then = waitingLine(view, options);
  let height = blocks.reduce((sum, lines) => sum + lines.length, 1 + then.length);
  let hidden = 0;
  while (height > options.height && hidden < blocks.length - 1) {
    height -= blocks[hidden]!.length - (hidden === 0 ? 1 : 0);
    hidden++;
  }
  const shown = blocks.slice(hidden).flat();
  const more = hidden > 0 ? [options.paint(`${INDENT}… ${hidden} earlier stages`, 'dim')] : [];
  return [head, ...more, ...shown, ...(height > options.height ? [] : then)].map((line) =>
    truncate(line, options.width),
  );
}

/** The stages that have not begun, on one line. */
function waitingLine({ stages }: JobView, { paint }: BarOptions): string[] {
  const names = stages.filter(({ phase }) => phase === 'waiting').map(({ name }) => name);
  return names.length === 0 ? [] : [paint(`${INDENT}then ${names.join(', ')}`, 'dim')];
}

function headLine(view: JobView, { paint, now }: BarOptions): string {
  const parts = [`${paint(view.name, 'bold')} ${paint(view.id, 'dim')}`, stateWord(view.state, paint)];
  if (view.waiting !== null) parts.push(view.waiting.text);
  const current = view.stages.findLast(({ phase }) => phase !== 'waiting' && phase !== 'skipped');
  if (current && view.count > 1) parts.push(`stage ${current.index + 1} of ${view.count}`);
  if (view.startedAt !== null) {
    const until = view.state === 'running' ? Math.max(now, view.time) : view.time;
    parts.push(formatDuration(until - view.startedAt));
  }
  if (view.attempt > 1) parts.push(paint(`attempt ${view.attempt}`, 'yellow'));
  return parts.join(paint(SEPARATOR, 'dim'));
}

/** The state in its colour. */
export function stateWord(state: string, paint: Paint): string {
  if (state === 'succeeded') return paint(state, 'green');
  if (state === 'failed') return paint(state, 'red');
  if (state === 'running') return paint(state, 'cyan');
  return paint(state, 'yellow');
}

const marks: Record<StageView['phase'], string> = {
  waiting: ' ',
  skipped: '-',
  running: '●',
  finished: '✓',
  reused: '✓',
  stopped: '◦',
  failed: '✗',
};

function stageLines(stage: StageView, nameWidth: number, options: BarOptions): string[] {
  const { paint, width } = options;
  const style = stage.phase === 'running' ? 'cyan' : stage.phase === 'failed' ? 'red' : 'green';
  const halted = stage.phase === 'stopped' || stage.phase === 'skipped';
  const mark = paint(marks[stage.phase], halted ? 'yellow' : style);
  const name = pad(truncate(stage.name, nameWidth), nameWidth);
  const lead = `${mark} ${stage.phase === 'running' ? paint(name, 'bold') : name} `;
  if (stage.error !== null) {
    const text = clean(stage.error.message).replaceAll('\n', ' ');
    return [lead + truncate(`${stage.phase}: ${text}`, width - displayWidth(lead))];
  }
  if (stage.phase === 'finished' || stage.phase === 'reused') {
    const facts = [
      stage.phase === 'reused' ? paint('reused', 'dim') : formatDuration(stage.seconds),
      stage.done > 0 ? amount(stage) : '',
      ...metricParts(stage, options, 0),
    ];
    return [lead + joinFitting(facts, width - displayWidth(lead), paint)];
  }
  const left = timeLeft(stage, options);
  const counts = stage.unit === '' ? 'starting' : amount(stage);
  const share = stage.total ? `${formatShare(stage.done / stage.total).padStart(4)} ` : '';
  const words = joinFitting([`${share}${counts}`, left], width - displayWidth(lead), paint);
  const room = Math.min(40, width - displayWidth(lead) - displayWidth(words) - 1);
  const bar = stage.total && room >= 8 ? `${barText(stage.done / stage.total, room, options)} ` : '';
  const indent = width >= 60 ? ' '.repeat(displayWidth(lead)) : INDENT;
  const second = joinFitting(
    detailParts(stage, width - indent.length, options),
    width - indent.length,
    paint,
  );
  const first = lead + bar + words;
  return second === '' ? [first] : [first, indent + second];
}

/** Metrics and figures of the machine; the curve takes the room that the figures leave. */
function detailParts(stage: StageView, width: number, options: BarOptions): string[] {
  const speed = speedParts(stage);
  const without = [...metricParts(stage, options, 0), ...speed];
  const used = without.reduce((sum, part) => sum + displayWidth(part) + SEPARATOR.length, 0);
  return [
    ...metricParts(stage, options, Math.min(MOST_SPARKS, Math.max(LEAST_SPARKS, width - used))),
    ...speed,
  ];
}

function timeLeft({ speed, phase }: StageView, { now, paint }: BarOptions): string {
  if (phase !== 'running' || speed === null || speed.eta_seconds === null) return '';
  const left = Math.max(0, speed.eta_seconds - Math.max(0, now - speed.time));
  return paint(`${formatDuration(left)} left`, 'cyan');
}

/** `412 of 1,200 steps`. */
function amount(stage: StageView): string {
  const { done, total, unit } = stage;
  const format = unit === 'byte' ? formatBytes : formatCount;
  const of = total === null || total === done ? format(done) : `${format(done)} of ${format(total)}`;
  if (unit === 'byte') return of;
  const plural = (total ?? done) === 1 ? unit : unit.endsWith('s') ? unit : `${unit}s`;
  return `${of} ${plural}`;
}

function metricParts(stage: StageView, { paint }: BarOptions, sparks: number): string[] {
  const parts: string[] = [];
  const { curve, facts } = shownMetrics(stage.type);
  const value = stage.metrics[curve[0]];
  if (value !== undefined) {
    const line = sparks > 0 ? ` ${paint(sparkline(stage.curve, sparks), 'blue')}` : '';
    parts.push(`${curve[1]} ${paint(formatMetric(value), 'bold')}${line}`);
  }
  const validation = validationFigure(stage);
  if (validation !== undefined) parts.push(`val ${formatMetric(validation)}`);
  for (const [metric, word] of facts) {
    const fact = stage.metrics[metric];
    if (fact !== undefined) parts.push(`${word} ${formatMetric(fact)}`);
  }
  return parts;
}

/** What the newest validation says: its loss, or in reinforcement learning its reward. */
export function validationFigure(stage: StageView): number | undefined {
  const metrics = stage.validation?.metrics;
  return metrics?.eval_loss ?? metrics?.eval_reward ?? metrics?.loss;
}

/** Whether the engine waits for data so much that it is worth a word. */
export function waitsForData(speed: Pick<EventBody<'speed'>, 'data_wait_share'>): boolean {
  return (speed.data_wait_share ?? 0) >= 0.01;
}

function speedParts({ speed }: StageView): string[] {
  if (speed === null) return [];
  const parts: string[] = [];
  if (speed.tokens_per_second !== null) parts.push(`${formatCompact(speed.tokens_per_second)} tok/s`);
  if (speed.matrix_share !== null) parts.push(`${formatShare(speed.matrix_share)} of matrix speed`);
  if (waitsForData(speed)) parts.push(`${formatShare(speed.data_wait_share!)} waiting for data`);
  if (speed.memory_bytes > 0) parts.push(formatBytes(speed.memory_bytes));
  return parts;
}

/** As many of the parts, from the first, as fit. */
function joinFitting(parts: string[], width: number, paint: Paint): string {
  let line = '';
  for (const part of parts) {
    if (part === '') continue;
    const next = line === '' ? part : line + paint(SEPARATOR, 'dim') + part;
    if (displayWidth(next) > width && line !== '') break;
    line = next;
  }
  return line;
}

function barText(share: number, width: number, { paint }: BarOptions): string {
  const halves = Math.round(Math.min(1, Math.max(0, share)) * width * 2);
  const full = '━'.repeat(Math.floor(halves / 2)) + (halves % 2 ? '╸' : '');
  return paint(full, 'cyan') + paint('─'.repeat(width - displayWidth(full)), 'dim');
}

/** Values as blocks of eight heights; more values than columns are averaged. Values that are no numbers are left out. */
export function sparkline(values: number[], width: number): string {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return '';
  const columns = Math.min(width, finite.length);
  const points = Array.from({ length: columns }, (_, i) => {
    const from = Math.floor((i * finite.length) / columns);
    const to = Math.floor(((i + 1) * finite.length) / columns);
    return finite.slice(from, to).reduce((sum, value) => sum + value, 0) / (to - from);
  });
  const low = Math.min(...points);
  const range = Math.max(...points) - low;
  return points.map((value) => SPARKS[range === 0 ? 0 : Math.round(((value - low) / range) * 7)]).join('');
}
