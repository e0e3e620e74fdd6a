/**
 * The worker's end of the line to the daemon (the child's IPC channel): all that the worker's tasks know of it.
 *
 * Nothing that was sent may be lost, whoever is killed. The daemon confirms what it has stored; what is not
 * confirmed when the daemon dies is written to a file beside the job, which the next daemon reads before it
 * starts the job again. So a checkpoint that waits for `flush()` never claims events that nobody has.
 */
import { appendFileSync, closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { encodeBody } from '../../proto/wire.ts';
import type { FromWorker, GenerateRequest, ToWorker, WorkerTask } from '../../proto/worker.ts';

export type StopReason = Extract<ToWorker, { type: 'stop' }>['reason'];

/** What a task of the worker may do with the daemon. */
export interface WorkerChannel {
  send(message: FromWorker): void;
  /** Asked to checkpoint and return; also called (as `shutdown`) when the daemon has gone. */
  onStop(callback: (reason: StopReason) => void): void;
  onGenerate(callback: (request: GenerateRequest) => void): void;
  onCancelGenerate(callback: (request: string) => void): void;
  /** Resolves when all that was sent is safe; await it before a checkpoint becomes the current one. */
  flush(): Promise<void>;
  /** Wraps an engine call, so that the daemon can tell one that hangs from one that is merely long. */
  track<T>(call: Promise<T>): Promise<T>;
}

/** File of the events that a worker could not hand over because its daemon had gone: a base64 MessagePack a line. */
export function pendingEventsPath(home: string, job: string): string {
  return join(home, 'jobs', job, 'pending-events');
}

/** The channel over `process.send`; `main.ts` makes the only one of a process. */
export class IpcChannel implements WorkerChannel {
  #stop: ((reason: StopReason) => void) | undefined;
  #stopReason: StopReason | undefined;
  #generate: ((request: GenerateRequest) => void) | undefined;
  #cancelGenerate: ((request: string) => void) | undefined;
  /** Requests that came before the task listened. */
  #early: GenerateRequest[] = [];
  #task: ((task: WorkerTask) => void) | undefined;
  /** Sent and not confirmed yet, oldest first; `#confirmed` counts those before them. */
  #unconfirmed: FromWorker[] = [];
  #confirmed = 0;
  #waiting: { upTo: number; resolve: () => void }[] = [];
  /** Set as soon as the daemon has gone; '' where there is no job to keep events for. */
  #spill: string | undefined;
  #spillPath = '';
  #calls = new Set<number>();

  constructor() {
    process.on('message', (message) => this.#receive(message as ToWorker));
    process.on('disconnect', () => this.#daemonGone());
  }

  /** The first message. */
  task(): Promise<WorkerTask> {
    return new Promise((resolve) => {
      this.#task = (task) => {
        if (task.task === 'recipe') this.#spillPath = pendingEventsPath(task.home, task.job);
        resolve(task);
      };
    });
  }

  /** How long the oldest running engine call has taken. */
  busySeconds(): number {
    const oldest = Math.min(...this.#calls);
    return Number.isFinite(oldest) ? (performance.now() - oldest) / 1000 : 0;
  }

  heartbeat(): void {
    if (process.connected) process.send?.({ type: 'heartbeat', busy_seconds: this.busySeconds() });
  }

  send(message: FromWorker): void {
    if (this.#spill !== undefined) {
      this.#writeSpill([message]);
      return;
    }
    this.#unconfirmed.push(message);
    process.send?.(message, undefined, undefined, () => {
      // A failed write is followed by `disconnect`, which keeps what is unconfirmed.
    });
  }

  onStop(callback: (reason: StopReason) => void): void {
    this.#stop = callback;
    if (this.#stopReason !== undefined) callback(this.#stopReason);
  }

  onGenerate(callback: (request: GenerateRequest) => void): void {
    this.#generate = callback;
    for (const request of this.#early.splice(0)) callback(request);
  }

  onCancelGenerate(callback: (request: string) => void): void {
    this.#cancelGenerate = callback;
  }

  flush(): Promise<void> {
    if (this.#spill !== undefined || this.#unconfirmed.length === 0) return Promise.resolve();
    const upTo = this.#confirmed + this.#unconfirmed.length;
    return new Promise((resolve) => this.#waiting.push({ upTo, resolve }));
  }

  async track<T>(call: Promise<T>): Promise<T> {
    let started = performance.now();
    while (this.#calls.has(started)) started += 1e-3;
    this.#calls.add(started);
    try {
      return await call;
    } finally {
      this.#calls.delete(started);
    }
  }

  #receive(message: ToWorker): void {
    switch (message.type) {
      case 'task':
        this.#task?.(message.task);
        break;
      case 'stop':
        this.#askToStop(message.reason);
        break;
      case 'generate':
        if (this.#generate) this.#generate(message.request);
        else this.#early.push(message.request);
        break;
      case 'cancel_generate':
        this.#early = this.#early.filter((request) => request.request !== message.request);
        this.#cancelGenerate?.(message.request);
        break;
      case 'stored':
        this.#confirm(message.count);
        break;
    }
  }

  #askToStop(reason: StopReason): void {
    this.#stopReason = reason;
    this.#stop?.(reason);
  }

  /** `count`: messages (heartbeats apart) that the daemon has stored since the worker began. */
  #confirm(count: number): void {
    this.#unconfirmed.splice(0, count - this.#confirmed);
    this.#confirmed = count;
    this.#waiting = this.#waiting.filter((waiter) => {
      if (waiter.upTo > count) return true;
      waiter.resolve();
      return false;
    });
  }

  #daemonGone(): void {
    if (this.#spill !== undefined) return;
    this.#spill = this.#spillPath;
    this.#writeSpill(this.#unconfirmed.splice(0));
    for (const waiter of this.#waiting.splice(0)) waiter.resolve();
    this.#askToStop('shutdown');
  }

  #writeSpill(messages: FromWorker[]): void {
    // Generations end with the daemon that asked for them; `done` is told by the exit of the process.
    const lines = messages.filter((message) => message.type === 'event' && message.request === undefined);
    if (!this.#spill || lines.length === 0) return;
    mkdirSync(dirname(this.#spill), { recursive: true });
    const file = openSync(this.#spill, 'a', 0o600);
    try {
      appendFileSync(file, lines.map((line) => `${encodeBody({ ...line }).toString('base64')}\n`).join(''));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  }
}
