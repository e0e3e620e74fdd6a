/**
 * What a person watching a job sees, as a value: `reduce` takes the events of the job one by one. It is pure and
 * knows no clock and no terminal, so a job watched as it runs and the same job watched afterwards look the same.
 */
import type { EventBody, JobEvent } from '../../../proto/events.ts';
import { shownMetrics } from './metrics.ts';

export type StagePhase = 'waiting' | 'running' | 'finished' | 'reused' | 'stopped' | 'failed' | 'skipped';

export interface StageView {
  name: string;
  type: string;
  /** Place among the stages of the recipe, from 0. */
  index: number;
  phase: StagePhase;
  startedAt: number;
  /** How long it took, once it has ended. */
  seconds: number | null;
  done: number;
  total: number | null;
  unit: string;
  /** The newest of each metric. */
  metrics: Record<string, number>;
  /** The metric whose curve is drawn (metrics.ts), of the latest steps, oldest first. */
  curve: number[];
  validation: { step: number; metrics: Record<string, number> } | null;
  /** Figures of the machine with the time at which they were taken. */
  speed: (EventBody<'speed'> & { time: number }) | null;
  /** Step of the newest complete checkpoint. */
  checkpoint: number | null;
  /** Hash of what it made. */
  artifact: string | null;
  /** Why it failed or was skipped. */
  error: EventBody<'state'>['error'];
}

export interface JobView {
  id: string;
  name: string;
  state: string;
  error: EventBody<'state'>['error'];
  attempt: number;
  /** Why it is queued. */
  waiting: EventBody<'queue'> | null;
  /** All stages of the recipe, in the order in which they run. */
  stages: StageView[];
  /** Number of stages of the recipe; 0 until the first begins. */
  count: number;
  startedAt: number | null;
  /** Time of the newest event. */
  time: number;
  /** Text of a generation so far. */
  generated: string;
}

/** How many values the curve keeps. */
export const CURVE_WINDOW = 120;

/** A job of which no event has been seen yet. */
export function emptyView(id: string, name: string): JobView {
  return {
    id,
    name,
    state: 'queued',
    error: null,
    attempt: 0,
    waiting: null,
    stages: [],
    count: 0,
    startedAt: null,
    time: 0,
    generated: '',
  };
}

/** The view after one more event. */
export function reduce(view: JobView, event: JobEvent): JobView {
  const next = { ...view, time: event.time };
  switch (event.kind) {
    case 'state':
      return reduceState(next, event.body);
    case 'queue':
      return { ...next, waiting: event.body };
    case 'graph': {
      const { stages } = event.body;
      const waiting = stages.map(({ stage, type }, index) => newStage(stage, type, index, event.time));
      return { ...next, count: stages.length, stages: waiting };
    }
    case 'stage':
      return reduceStage(next, event.body);
    case 'progress':
      return onStage(next, event.body.stage, (stage) => {
        const { done, total, unit, metrics } = event.body;
        const value = metrics[shownMetrics(stage.type).curve[0]];
        const curve = value === undefined ? stage.curve : [...stage.curve, value].slice(-CURVE_WINDOW);
        return { ...stage, done, total, unit, metrics: { ...stage.metrics, ...metrics }, curve };
      });
    case 'validation':
      return onStage(next, event.body.stage, (stage) => ({
        ...stage,
        validation: { step: event.body.step, metrics: event.body.metrics },
      }));
    case 'speed':
      return onStage(next, event.body.stage, (stage) => ({
        ...stage,
        speed: { ...event.body, time: event.time },
      }));
    case 'checkpoint':
      return onStage(next, event.body.stage, (stage) => ({ ...stage, checkpoint: event.body.step }));
    case 'token':
      return { ...next, generated: view.generated + event.body.text };
    case 'completion':
      return { ...next, generated: event.body.text };
    default:
      return next;
  }
}

function reduceState(view: JobView, body: EventBody<'state'>): JobView {
  const running = body.state === 'running';
  const ended: StagePhase = body.state === 'failed' ? 'failed' : 'stopped';
  return {
    ...view,
    state: body.state,
    error: body.error,
    attempt: body.attempt,
    waiting: null,
    startedAt: view.startedAt ?? (running ? view.time : null),
    stages: view.stages.map((stage) => {
      if (stage.phase === 'running' && !running) {
        return { ...stage, phase: ended, speed: null, seconds: view.time - stage.startedAt };
      }
      return stage;
    }),
  };
}

function reduceStage(view: JobView, body: EventBody<'stage'>): JobView {
  const known = view.stages.find((stage) => stage.name === body.stage);
  const phase: StagePhase = body.phase === 'started' ? 'running' : body.phase;
  const begins = known === undefined || (known.phase === 'waiting' && phase === 'running');
  const stage: StageView = {
    ...(known ?? newStage(body.stage, body.type, body.index, view.time)),
    ...(begins ? { startedAt: view.time } : {}),
    phase,
    artifact: body.artifact,
    error: body.error ?? null,
    seconds: body.phase === 'started' ? null : body.seconds,
    speed: phase === 'running' ? (known?.speed ?? null) : null,
  };
  return { ...view, count: body.count, stages: putStage(view.stages, stage) };
}

function newStage(name: string, type: string, index: number, time: number): StageView {
  return {
    name,
    type,
    index,
    phase: 'waiting',
    startedAt: time,
    seconds: null,
    done: 0,
    total: null,
    unit: '',
    metrics: {},
    curve: [],
    validation: null,
    speed: null,
    checkpoint: null,
    artifact: null,
    error: null,
  };
}

function putStage(stages: StageView[], stage: StageView): StageView[] {
  const others = stages.filter((other) => other.name !== stage.name);
  return [...others, stage].sort((a, b) => a.index - b.index);
}

/**
 * Changes one stage. An event of a stage that is not running says that it runs again: after a restart the `stage`
 * event of the first attempt is not repeated.
 */
function onStage(view: JobView, name: string, change: (stage: StageView) => StageView): JobView {
  const stage = view.stages.find((other) => other.name === name);
  if (stage === undefined) return view;
  const done = stage.phase === 'finished' || stage.phase === 'reused';
  const revived: StageView =
    done || stage.phase === 'running' ? stage : { ...stage, phase: 'running', seconds: null, error: null };
  return { ...view, stages: putStage(view.stages, change(revived)) };
}

/** States after which nothing more happens unless somebody asks for it, with the exit status of a follower. */
export const settledStates: Readonly<Record<string, number>> = {
  succeeded: 0,
  failed: 1,
  cancelled: 5,
  paused: 5,
};
