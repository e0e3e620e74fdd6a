/**
 * Generations: each is a job of kind `generate` with `token` and `completion` events. `job:<id>` is answered by the
 * worker of that running job, on its current weights; any other model by a worker that serves it and stays loaded
 * for a while.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Job } from '../../proto/commands.ts';
import { AnnealError, type ErrorBody } from '../../proto/errors.ts';
import type { HomeLayout } from '../../proto/home.ts';
import type { GenerateRequest } from '../../proto/worker.ts';
import type { Inbox } from './inbox.ts';
import type { Log } from './log.ts';
import type { Settings } from './settings.ts';
import type { Store } from './store.ts';
import { type WorkerEnd, type WorkerMessage, WorkerProcess } from './worker-process.ts';

export type GenerationMessage = Extract<WorkerMessage, { type: 'event' | 'generated' }>;

interface Server {
  model: string;
  worker: WorkerProcess;
  idleTimer: NodeJS.Timeout | undefined;
  /** Why it ended by its own word: a model that cannot be loaded. */
  error: ErrorBody | null;
}

const PRUNE_MS = 60_000;
const KEPT_GENERATIONS = 1_000;

export class Generations {
  readonly #home: HomeLayout;
  readonly #store: Store;
  readonly #inbox: Inbox;
  readonly #settings: Settings;
  readonly #log: Log;
  readonly #servers = new Map<string, Server>();
  /** Generations under way, with the worker that each was given to. */
  readonly #active = new Map<string, WorkerProcess>();
  readonly #pruning: NodeJS.Timeout;

  constructor(parts: { home: HomeLayout; store: Store; inbox: Inbox; settings: Settings; log: Log }) {
    this.#home = parts.home;
    this.#store = parts.store;
    this.#inbox = parts.inbox;
    this.#settings = parts.settings;
    this.#log = parts.log;
    this.#pruning = setInterval(() => this.prune(), PRUNE_MS);
    this.#pruning.unref();
  }

  /** Generations of the last daemon ended with it. */
  recover(): void {
    const error = new AnnealError('shutting_down', 'The daemon ended during this generation.', {
      hint: 'Ask again.',
    }).toBody();
    for (const { job } of this.#store.list({ states: ['queued', 'running'], kinds: ['generate'] })) {
      this.#store.setState(job.id, 'failed', error);
    }
    this.prune();
  }

  prune(): void {
    this.#inbox.post(() => {
      const before = Date.now() / 1000 - this.#settings.generationKeepSeconds;
      this.#store.pruneGenerations(before, KEPT_GENERATIONS);
    });
  }

  /** Creates the job in the store; inside a transaction, so that a retried request finds it. */
  create(model: string): Job {
    const job = this.#store.createJob({
      name: model,
      kind: 'generate',
      device: 'cpu',
      priority: 0,
      recipe: null,
      fresh: false,
    });
    return this.#store.setState(job.id, 'running');
  }

  /** Hands the request to a worker, or to the one that serves the model of a folder. */
  start(to: WorkerProcess | string, request: GenerateRequest): void {
    const chosen = typeof to === 'string' ? this.#serve(to).worker : to;
    this.#active.set(request.request, chosen);
    chosen.send({ type: 'generate', request });
  }

  /** Asks the worker to end a generation; its job follows when it has. */
  cancel(id: string): void {
    this.#active.get(id)?.send({ type: 'cancel_generate', request: id });
  }

  /** Stores what a worker says of a generation. Runs inside a transaction. */
  report(message: GenerationMessage): void {
    const id = message.request!;
    if (!this.#active.has(id)) return;
    if (message.type === 'event') {
      this.#store.append(id, message.kind, message.body, message.key);
      return;
    }
    this.#finish(id, message.error);
  }

  /** Ends the generations of a worker that has ended. Runs inside a transaction. */
  orphaned(worker: WorkerProcess, reason?: ErrorBody): void {
    const error =
      reason ??
      new AnnealError('worker_died', 'The worker ended before the generation did.', {
        hint: 'Ask again.',
      }).toBody();
    for (const [id, given] of this.#active) if (given === worker) this.#finish(id, error);
  }

  /** Forgets a worker that has ended, after `orphaned` is committed. */
  release(worker: WorkerProcess): void {
    for (const [id, given] of this.#active) if (given === worker) this.#active.delete(id);
  }

  /** Ends every serving worker. */
  shutdown(): void {
    clearInterval(this.#pruning);
    for (const server of this.#servers.values()) {
      clearTimeout(server.idleTimer);
      server.worker.kill();
    }
  }

  #finish(id: string, error: ErrorBody | null): void {
    const { intent } = this.#store.job(id);
    if (intent === 'cancel') this.#store.setState(id, 'cancelled');
    else this.#store.setState(id, error === null ? 'succeeded' : 'failed', error);
  }

  #serve(model: string): Server {
    const known = this.#servers.get(model);
    if (known) {
      clearTimeout(known.idleTimer);
      return known;
    }
    const server: Server = {
      model,
      idleTimer: undefined,
      error: null,
      worker: new WorkerProcess(
        { task: 'serve', home: this.#home.home, model },
        {
          settings: this.#settings,
          output: join(
            this.#home.logs,
            `serve-${createHash('sha256').update(model).digest('hex').slice(0, 12)}.log`,
          ),
          onMessage: (message) => this.#receive(server, message),
          onExit: (end) => this.#serverEnded(server, end),
        },
      ),
    };
    this.#servers.set(model, server);
    this.#log.info({ model, pid: server.worker.pid }, 'worker started to serve a model');
    return server;
  }

  #receive(server: Server, message: WorkerMessage): void {
    const stored = (): void => server.worker.confirmStored();
    if (message.type === 'event' || message.type === 'generated') {
      this.#inbox.post(
        () => this.report(message),
        () => {
          stored();
          if (message.type === 'generated') this.#answered(message.request);
        },
      );
      return;
    }
    if (message.type === 'done') {
      server.error = message.error;
      this.#forget(server);
    }
    this.#inbox.post(() => {}, stored);
  }

  /** After the commit of a generation's end. */
  #answered(id: string): void {
    const worker = this.#active.get(id);
    this.#active.delete(id);
    const server = [...this.#servers.values()].find((candidate) => candidate.worker === worker);
    if (!server || [...this.#active.values()].includes(server.worker)) return;
    clearTimeout(server.idleTimer);
    server.idleTimer = setTimeout(() => {
      this.#forget(server);
      server.worker.send({ type: 'stop', reason: 'shutdown' });
    }, this.#settings.serveIdleSeconds * 1000);
  }

  /** No new request goes to it. */
  #forget(server: Server): void {
    if (this.#servers.get(server.model) === server) this.#servers.delete(server.model);
  }

  #serverEnded(server: Server, end: WorkerEnd): void {
    clearTimeout(server.idleTimer);
    this.#forget(server);
    const { code, signal } = end;
    this.#log.info(
      { model: server.model, pid: server.worker.pid, code, signal },
      'worker that served a model ended',
    );
    const error =
      server.error ??
      new AnnealError(
        'worker_died',
        `The worker that served ${server.model} ended (${end.signal ?? end.code}).`,
        {
          hint: end.lastWords || 'Ask again; `anneal doctor` says what this machine has.',
        },
      ).toBody();
    this.#inbox.post(
      () => this.orphaned(server.worker, error),
      () => this.release(server.worker),
    );
  }
}
