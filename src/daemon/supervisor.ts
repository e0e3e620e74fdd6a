/**
 * Runs recipe jobs in worker processes: starts them when their device is free, stores what they report, stops them
 * when asked, and decides what a worker's end means for its job.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { AnnealError, type ErrorBody, TRANSIENT_ERRORS } from '../../proto/errors.ts';
import type { HomeLayout } from '../../proto/home.ts';
import type { WorkerTask } from '../../proto/worker.ts';
import { pendingEventsPath } from '../worker/channel.ts';
import type { Clock } from './clock.ts';
import type { Generations } from './generations.ts';
import type { Inbox } from './inbox.ts';
import type { Log } from './log.ts';
import { type Orphan, readPendingEvents, waitForOrphan } from './orphans.ts';
import { decide, type Holder } from './scheduler.ts';
import type { Settings } from './settings.ts';
import type { Store, StoredJob } from './store.ts';
import { processStart, type WorkerEnd, type WorkerMessage, WorkerProcess } from './worker-process.ts';

type Done = Extract<WorkerMessage, { type: 'done' }>;

interface RunningJob {
  device: string;
  worker: WorkerProcess;
  /** How the worker said that the job ended. */
  done: Done | undefined;
  killTimer: NodeJS.Timeout | undefined;
}

/** A worker that has said how its job ended has so long to end itself. */
const EXIT_MS = 10_000;
const START_RETRY_MS = 1_000;

export class Supervisor {
  readonly #home: HomeLayout;
  readonly #store: Store;
  readonly #inbox: Inbox;
  readonly #generations: Generations;
  readonly #settings: Settings;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #running = new Map<string, RunningJob>();
  /** Jobs whose worker of a daemon that was killed has not ended yet, and the device that it holds. */
  readonly #orphans = new Map<string, Orphan>();
  #stopping = false;
  /** Calls off the next look at the queue that goes by the clock. */
  #forgetAlarm: () => void = () => {};
  #onIdle: (() => void) | undefined;

  constructor(parts: {
    home: HomeLayout;
    store: Store;
    inbox: Inbox;
    generations: Generations;
    settings: Settings;
    log: Log;
    clock: Clock;
  }) {
    this.#home = parts.home;
    this.#store = parts.store;
    this.#inbox = parts.inbox;
    this.#generations = parts.generations;
    this.#settings = parts.settings;
    this.#log = parts.log;
    this.#clock = parts.clock;
  }

  /** The devices in use, with the job and the memory of its worker. */
  devices(): { device: string; job: string; memory_bytes: number | null }[] {
    const running = [...this.#running].map(([job, { device, worker }]) => ({
      device,
      job,
      memory_bytes: worker.residentBytes(),
    }));
    const orphans = [...this.#orphans].map(([job, { device }]) => ({ device, job, memory_bytes: null }));
    return [...running, ...orphans];
  }

  /** The worker of a running job. */
  worker(id: string): WorkerProcess | undefined {
    return this.#running.get(id)?.worker;
  }

  /** Takes up the jobs that were running when the last daemon ended. */
  recover(): void {
    for (const stored of this.#store.list({ states: ['running'], kinds: ['recipe'] })) {
      const { workerPid: pid, workerStart: start } = stored;
      const { id, device } = stored.job;
      if (pid === null || start === null || processStart(pid) !== start) {
        this.#takeUp(id);
        continue;
      }
      this.#log.info({ job: id, pid }, 'waiting for the worker of the last daemon to write its checkpoint');
      const orphan = waitForOrphan(pid, start, device, this.#settings.stopSeconds, () => {
        this.#orphans.delete(id);
        if (!this.#stopping) this.#takeUp(id);
      });
      this.#orphans.set(id, orphan);
    }
    this.schedule();
  }

  /** Starts what can start now, has what must give way checkpointed, and notes what the others wait for. */
  schedule(): void {
    if (this.#stopping) return;
    this.#forgetAlarm();
    const now = this.#clock.now();
    try {
      const queued = this.#store.list({ states: ['queued'], kinds: ['recipe'] });
      const decision = decide(queued, this.#holders(), now);
      for (const { id, text } of decision.yield) this.#yield(id, text);
      for (const stored of decision.start) this.#start(stored);
      for (const [id, waiting] of decision.waiting) this.#store.setWaiting(id, waiting);
      const { again } = decision;
      this.#forgetAlarm = again === undefined ? () => {} : this.#clock.at(again, () => this.schedule());
    } catch (error) {
      // The disk is full: the jobs stay as they are.
      this.#log.error({ err: error }, 'the queue could not be worked on; trying again');
      setTimeout(() => this.schedule(), START_RETRY_MS);
    }
  }

  #holders(): Holder[] {
    const running = [...this.#running].map(([id, { device, done }]): Holder => {
      const stored = this.#store.job(id);
      const stays = stored.intent === null && done === undefined && stored.job.state === 'running';
      return { id, device, stored: stays ? stored : undefined };
    });
    const orphans = [...this.#orphans].map(([id, { device }]) => ({ id, device, stored: undefined }));
    return [...running, ...orphans];
  }

  /** Has a running job checkpointed and queued again. */
  #yield(id: string, text: string): void {
    this.#store.transaction(() => {
      this.#store.setIntent(id, 'yield');
      this.#store.append(id, 'notice', { stage: null, level: 'info', text });
    });
    this.stop(id, 'pause');
  }

  /** Asks the worker of a running job to checkpoint and end; the job's state follows when it has. */
  stop(id: string, reason: 'pause' | 'cancel'): void {
    const running = this.#running.get(id);
    if (!running) return;
    running.worker.send({ type: 'stop', reason });
    // A cancelled job has nothing to lose but time; a paused one is given all the time that its step takes.
    if (reason === 'cancel') this.#killAfter(running, this.#settings.stopSeconds * 1000);
  }

  /** Checkpoints every job and resolves when no worker is left. The jobs are queued, to go on at the next start. */
  async shutdown(): Promise<void> {
    this.#stopping = true;
    this.#forgetAlarm();
    for (const orphan of this.#orphans.values()) orphan.forget();
    for (const running of this.#running.values()) {
      running.worker.send({ type: 'stop', reason: 'shutdown' });
      this.#killAfter(running, this.#settings.stopSeconds * 1000);
    }
    if (this.#running.size > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
  }

  #start(stored: StoredJob): void {
    const { id, name, device } = stored.job;
    const task: WorkerTask = {
      task: 'recipe',
      job: id,
      name,
      home: this.#home.home,
      recipe: stored.recipe!,
      fresh: stored.fresh,
      attempt: stored.job.attempts + 1,
      failed: this.#store.failures(id),
      selftest: stored.selftest,
    };
    this.#store.setState(id, 'running');
    const running: RunningJob = {
      device,
      done: undefined,
      killTimer: undefined,
      worker: new WorkerProcess(task, {
        settings: this.#settings,
        output: join(this.#home.logs, `worker-${id}.log`),
        onMessage: (message) => this.#receive(id, running, message),
        onExit: (end) =>
          this.#inbox.post(
            () => this.#ended(id, running, end),
            () => this.#gone(id, running, end),
          ),
      }),
    };
    this.#running.set(id, running);
    const { pid } = running.worker;
    if (pid !== undefined) {
      const start = processStart(pid) ?? '';
      this.#inbox.post(() => this.#store.setWorker(id, pid, start));
    }
    this.#log.info({ job: id, name, pid, attempt: task.attempt }, 'job started');
  }

  #receive(id: string, running: RunningJob, message: WorkerMessage): void {
    const stored = (): void => running.worker.confirmStored();
    if (message.type === 'event' && message.request === undefined) {
      this.#inbox.post(() => this.#store.append(id, message.kind, message.body, message.key), stored);
    } else if (message.type === 'event' || message.type === 'generated') {
      this.#inbox.post(() => this.#generations.report(message), stored);
    } else {
      if (message.type === 'done') {
        running.done = message;
        this.#killAfter(running, EXIT_MS);
      }
      this.#inbox.post(() => {}, stored);
    }
  }

  #killAfter(running: RunningJob, ms: number): void {
    clearTimeout(running.killTimer);
    running.killTimer = setTimeout(() => running.worker.kill(), ms);
  }

  /** What the end of the worker means for the job. Changes the store only: it may be tried again. */
  #ended(id: string, running: RunningJob, end: WorkerEnd): void {
    const { intent } = this.#store.job(id);
    const outcome = running.done?.outcome;
    this.#generations.orphaned(running.worker, generationLost());
    if (outcome === 'succeeded') this.#store.setState(id, 'succeeded');
    else if (intent === 'cancel') this.#store.setState(id, 'cancelled');
    else if (outcome === 'failed') this.#store.setState(id, 'failed', running.done!.error);
    else if (intent === 'pause') this.#store.setState(id, 'paused');
    else if (outcome === 'stopped' || this.#stopping) this.#store.setState(id, 'queued');
    else this.#faulted(id, end);
  }

  /** The worker ended without a word: the job goes on from its checkpoint as often as its recipe allows. */
  #faulted(id: string, end: WorkerEnd): void {
    const { deaths, retry, job } = this.#store.job(id);
    const error = faultError(end, deaths + 1);
    if (deaths >= retry.limit || !TRANSIENT_ERRORS.has(error.code)) {
      this.#giveUp(id, error);
      return;
    }
    const delay = retry.delay_seconds * 2 ** deaths;
    this.#store.setState(id, 'queued');
    if (delay > 0) this.#store.setNotBefore(id, this.#clock.now() / 1000 + delay);
    this.#store.append(id, 'notice', {
      stage: job.stage,
      level: 'warning',
      text: `The worker ${describeEnd(end)}; the job goes on from its last checkpoint.`,
    });
    this.#store.setDeaths(id, deaths + 1);
  }

  /**
   * The stage at which the workers ended has failed, and a further worker runs those that do not need it. Without
   * such a stage the job has failed.
   */
  #giveUp(id: string, error: ErrorBody): void {
    const last = this.#store.newest(id, 'stage');
    if (last?.phase !== 'started') {
      this.#store.setState(id, 'failed', error);
      return;
    }
    const key = `${last.stage}/stage/failed/${this.#store.job(id).job.attempts}`;
    this.#store.append(id, 'stage', { ...last, phase: 'failed', error }, key);
    this.#store.setDeaths(id, 0);
    this.#store.setState(id, 'queued');
  }

  #gone(id: string, running: RunningJob, end: WorkerEnd): void {
    clearTimeout(running.killTimer);
    this.#running.delete(id);
    this.#generations.release(running.worker);
    const { state, error } = this.#store.job(id).job;
    this.#log.info(
      { job: id, state, error, code: end.code, signal: end.signal, hung: end.hung },
      'worker ended',
    );
    if (this.#running.size === 0) this.#onIdle?.();
    this.schedule();
  }

  /** A job of the last daemon whose worker has ended: takes in what it could not report, and queues it again. */
  #takeUp(id: string): void {
    const pending = pendingEventsPath(this.#home.home, id);
    const events = readPendingEvents(pending);
    const apply = (): void => {
      for (const { kind, body, key } of events) this.#store.append(id, kind, body, key);
      const { intent, job } = this.#store.job(id);
      if (intent === 'pause' || intent === 'cancel') {
        this.#store.setState(id, intent === 'pause' ? 'paused' : 'cancelled');
        return;
      }
      this.#store.setState(id, 'queued');
      this.#store.append(id, 'notice', {
        stage: job.stage,
        level: 'info',
        text: 'The daemon was started again; the job goes on from its last checkpoint.',
      });
    };
    this.#inbox.post(apply, () => {
      rmSync(pending, { force: true });
      this.schedule();
    });
  }
}

function describeEnd(end: WorkerEnd): string {
  if (end.hung !== null) return `hung and was killed: ${end.hung}`;
  if (end.signal === 'SIGKILL') return 'was killed (SIGKILL), perhaps by the kernel because memory ran out';
  if (end.signal !== null) return `died of ${end.signal}`;
  return `ended with status ${end.code} and without a word`;
}

function generationLost(): ErrorBody {
  return new AnnealError('job_state', 'The job stopped running before the generation ended.', {
    hint: 'Ask its newest model (`anneal models`), or `job:<id>` again when the job runs.',
  }).toBody();
}

function faultError(end: WorkerEnd, deaths: number): ErrorBody {
  const words = end.lastWords ? ` Its last words: ${end.lastWords}` : '';
  const code = end.hung === null ? 'worker_died' : 'worker_hung';
  return new AnnealError(
    code,
    `The worker ${describeEnd(end)}. So it has ended ${deaths} ${deaths === 1 ? 'time' : 'times in a row'} without any progress.${words}`,
    {
      hint: 'See `anneal logs` for its output and `anneal plan` for its memory; `anneal resume` tries again.',
    },
  ).toBody();
}
