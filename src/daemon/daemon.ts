/**
 * The daemon: puts its parts together, starts them in order and takes them down in order. It never computes; the
 * event loop only moves messages between clients, workers and the store.
 */
import { accessSync, constants, mkdirSync } from 'node:fs';
import type { CommandName } from '../../proto/commands.ts';
import { AnnealError } from '../../proto/errors.ts';
import { type HomeLayout, homeLayout } from '../../proto/home.ts';
import { ANNEAL_VERSION } from '../../proto/version.ts';
import { ArtifactStore } from '../artifacts/store.ts';
import { systemClock } from './clock.ts';
import { Gatekeeper } from './curve.ts';
import { Generations } from './generations.ts';
import type { RequestContext, Services } from './handlers/handler.ts';
import { HANDLERS } from './handlers/index.ts';
import { Inbox } from './inbox.ts';
import { type HomeLock, lockHome } from './lock.ts';
import { type DaemonLog, openLog } from './log.ts';
import { Notifier } from './notify.ts';
import { OneShots } from './one-shots.ts';
import { EventPublisher } from './publisher.ts';
import { Rankings } from './rankings.ts';
import { CommandServer } from './router.ts';
import { readSettings } from './settings.ts';
import { Sockets } from './sockets.ts';
import { Store } from './store.ts';
import { Supervisor } from './supervisor.ts';

export interface DaemonOptions {
  home: string;
  /** `tcp://HOST:PORT` to serve other machines on, too. */
  listen: string | undefined;
  /** Log to stderr as well. */
  foreground: boolean;
}

/** Commands that change something: a repeated request finds what the first has done. */
const CHANGING: ReadonlySet<CommandName> = new Set<CommandName>([
  'job.submit',
  'job.pause',
  'job.resume',
  'job.cancel',
  'model.generate',
]);

export class Daemon {
  readonly #lock: HomeLock;
  readonly #log: DaemonLog;
  readonly #store: Store;
  readonly #services: Services;
  readonly #sockets: Sockets;
  readonly #gatekeeper: Gatekeeper;
  readonly #notifier: Notifier;
  /** How long the workers may take to end, and be killed, when the daemon goes down. */
  readonly #stopMs: number;
  #stopping: Promise<void> | undefined;
  #stopped: () => void = () => {};
  /** Resolves when the daemon has gone down. */
  readonly stopped = new Promise<void>((resolve) => (this.#stopped = resolve));

  private constructor(home: HomeLayout, lock: HomeLock, foreground: boolean) {
    const settings = readSettings();
    this.#stopMs = settings.stopSeconds * 1000 + 10_000;
    this.#lock = lock;
    this.#log = openLog(home.logs, { foreground, level: settings.logLevel });
    const { log } = this.#log;
    const publisher = new EventPublisher(log);
    const store = new Store(home.database, (events) => publisher.publish(events));
    const inbox = new Inbox(store, log);
    const generations = new Generations({ home, store, inbox, settings, log });
    this.#store = store;
    this.#notifier = new Notifier(log);
    this.#gatekeeper = new Gatekeeper(home.keys, log);
    this.#services = {
      home,
      store,
      artifacts: new ArtifactStore(home.home),
      generations,
      supervisor: new Supervisor({ home, store, inbox, generations, settings, log, clock: systemClock }),
      oneShots: new OneShots(home, settings),
      rankings: new Rankings(home),
      startedAt: performance.now(),
      shutDown: () => void this.stop(),
    };
    this.#sockets = new Sockets(
      new CommandServer((...request) => this.#dispatch(...request), log),
      publisher,
    );
  }

  /** Starts a daemon; throws a typed error when it cannot serve this home. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    // Sockets and all that jobs write belong to this user alone.
    process.umask(0o077);
    const home = homeLayout(options.home);
    makeHome(home.home);
    const lock = lockHome(home.lock, home.home);
    const daemon = new Daemon(home, lock, options.foreground);
    const { log } = daemon.#log;
    log.info({ version: ANNEAL_VERSION, pid: process.pid, home: home.home }, 'starting');
    const { generations, supervisor } = daemon.#services;
    generations.recover();
    if (options.listen !== undefined) {
      await daemon.#gatekeeper.start();
      await daemon.#sockets.listenRemote(options.listen, daemon.#gatekeeper);
    }
    // Last: whoever can reach a daemon here finds all of it.
    await daemon.#sockets.listenLocal(home);
    supervisor.recover();
    daemon.#notifier.ready();
    log.info({ listen: options.listen }, 'ready');
    return daemon;
  }

  /** For errors that have no other place to go. */
  logFatal(error: unknown): void {
    this.#log.log.fatal({ err: error }, 'the daemon ends because of a fault of its own');
  }

  /** Lets running steps end, checkpoints the jobs and closes everything. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#log.log.info('going down');
    this.#notifier.stopping();
    const { supervisor, generations, oneShots } = this.#services;
    oneShots.shutdown();
    const deadline = setTimeout(() => {
      // The store cannot take in how the jobs ended (the disk is full): the next start finds out.
      this.#log.log.error('the jobs did not end in time');
      process.exit(1);
    }, this.#stopMs);
    await supervisor.shutdown();
    clearTimeout(deadline);
    generations.shutdown();
    this.#sockets.close();
    this.#gatekeeper.close();
    this.#store.close();
    this.#notifier.close();
    this.#log.log.info('stopped');
    this.#log.close();
    this.#lock.release();
    this.#stopped();
  }

  async #dispatch<C extends CommandName>(
    command: C,
    request: unknown,
    context: RequestContext,
  ): Promise<Record<string, unknown>> {
    if (CHANGING.has(command)) {
      const job = this.#store.answered(context.requestId, context.digest);
      if (job) return { job };
      if (this.#stopping) {
        throw new AnnealError('shutting_down', 'The daemon is going down and takes no new work.', {
          hint: 'Start it again when it has ended: `anneal up`.',
        });
      }
    }
    // The schema of this very command has read the request, so it is what the handler takes.
    const handler = HANDLERS[command] as (
      request: unknown,
      services: Services,
      context: RequestContext,
    ) => object;
    return { ...(await handler(request, this.#services, context)) };
  }
}

function makeHome(home: string): void {
  try {
    mkdirSync(home, { recursive: true, mode: 0o700 });
    accessSync(home, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new AnnealError('home_unusable', `The home ${home} cannot be used: ${(error as Error).message}.`, {
      hint: 'Set ANNEAL_HOME to a folder that you may write to.',
      path: home,
      cause: error,
    });
  }
}
