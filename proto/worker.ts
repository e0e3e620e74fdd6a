/**
 * Messages between the daemon and a worker process, over the child's IPC channel (both ends are of one build, so
 * these are plain types). The worker is the only process that loads the addon.
 */
import type { CommandReply, CommandRequest, Sampling } from './commands.ts';
import type { ErrorBody } from './errors.ts';
import type { EventBody, EventKind } from './events.ts';

/** What a worker is started for: its first message. */
export type WorkerTask =
  | {
      task: 'recipe';
      job: string;
      name: string;
      home: string;
      recipe: RecipeSource;
      fresh: boolean;
      attempt: number;
      /** Stages that have failed already: they are not run again. */
      failed: Record<string, ErrorBody>;
      /** Stages to test instead of running the recipe; empty: all that can be. */
      selftest: string[] | null;
    }
  | { task: 'plan'; home: string; recipe: RecipeSource; check_only: boolean }
  | { task: 'doctor'; home: string }
  | { task: 'data'; home: string; request: CommandRequest<'data.query'> }
  /** Stays up to answer `generate` messages for one model, and for adapters over it, until it is told to stop. */
  | { task: 'serve'; home: string; model: string };

/** How often a job is tried again after a transient fault without progress in between, and how long it waits. */
export interface Retry {
  limit: number;
  /** Before the first; each further one waits twice as long. */
  delay_seconds: number;
}

/** What the daemon must know of a recipe. */
export interface RecipeHead {
  name: string;
  device: string;
  window: string | null;
  retry: Retry;
}

export interface RecipeSource {
  text: string;
  base_dir: string;
  source: string;
  set: { key: string; value: string }[];
}

export interface GenerateRequest {
  /** Job id of the generation. */
  request: string;
  /** Folder of the adapter that answers, over the base that the worker serves. */
  adapter?: string;
  prompt?: string;
  messages?: { role: string; content: string }[];
  chat_template_kwargs?: Record<string, unknown>;
  sampling: Sampling;
}

export type ToWorker =
  | { type: 'task'; task: WorkerTask }
  /** Checkpoint at the next microstep and exit: for pause, shutdown and cancel alike. */
  | { type: 'stop'; reason: 'pause' | 'shutdown' | 'cancel' }
  | { type: 'generate'; request: GenerateRequest }
  | { type: 'cancel_generate'; request: string }
  /** So many of the worker's messages (heartbeats not counted) are safe in the daemon's store. */
  | { type: 'stored'; count: number };

export type WorkerEvent = {
  [K in EventKind]: {
    type: 'event';
    kind: K;
    body: EventBody<K>;
    /** Events of one job with the same key are the same event: after a restart the second is dropped. */
    key?: string;
    /** Set for events of a generation, which is a job of its own. */
    request?: string;
  };
}[EventKind];

export type FromWorker =
  | { type: 'ready' }
  /** Once a second from the event loop; `busy_seconds`: how long the running engine call has taken. */
  | { type: 'heartbeat'; busy_seconds: number }
  | WorkerEvent
  | { type: 'planned'; plan: CommandReply<'job.plan'>; recipe: RecipeHead }
  | { type: 'doctored'; report: CommandReply<'doctor'> }
  | { type: 'answered'; answer: CommandReply<'data.query'> }
  | { type: 'generated'; request: string; error: ErrorBody | null }
  /**
   * Last message of a recipe: how it ended (`main.ts` sends it for a short task that throws). A worker that
   * exits without one has died. `stopped`: it has checkpointed because it was asked to stop.
   */
  | { type: 'done'; outcome: 'succeeded' | 'failed' | 'stopped'; error: ErrorBody | null };
