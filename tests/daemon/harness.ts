/**
 * Real daemons for tests: each in a home of its own, started as a process, killed in every way. Recipes are tiny but
 * real: a tokenizer, shards and a model of a few thousand weights.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach } from 'vitest';
import type { Job } from '../../proto/commands.ts';
import type { JobEvent } from '../../proto/events.ts';
import { homeLayout } from '../../proto/home.ts';
import { type Client, type ConnectOptions, connect } from '../../src/client/client.ts';

export { tinyRecipe } from './recipe.ts';

const ROOT = join(import.meta.dirname, '../..');
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Runs after the test, newest first. */
export function atEnd(cleanup: () => unknown): void {
  cleanups.push(cleanup);
}

/** An empty folder that goes when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'anneal-'));
  atEnd(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

export interface StartOptions {
  home?: string;
  env?: NodeJS.ProcessEnv;
  args?: string[];
}

/** One daemon process. */
export class TestDaemon {
  readonly home: string;
  readonly child: ChildProcess;
  stderr = '';
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;

  constructor(options: StartOptions = {}) {
    this.home = options.home ?? temporaryFolder();
    this.child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', join(ROOT, 'src/daemon/main.ts'), ...(options.args ?? [])],
      {
        env: { ...process.env, ANNEAL_HOME: this.home, ...options.env },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    this.child.stderr?.on('data', (text) => (this.stderr += text));
    this.exit = new Promise((resolve) => this.child.on('exit', (code, signal) => resolve({ code, signal })));
    atEnd(async () => {
      this.child.kill('SIGKILL');
      await this.exit;
      await this.#workersGone();
    });
  }

  async client(options: ConnectOptions = {}): Promise<Client> {
    const client = await connect({ home: this.home, ...options });
    atEnd(() => client.close());
    return client;
  }

  async kill(signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    this.child.kill(signal);
    return this.exit;
  }

  log(): string {
    return readFileSync(join(homeLayout(this.home).logs, 'anneald.log'), 'utf8');
  }

  /** Workers end by themselves when their daemon has gone; the folder may go when they have. */
  async #workersGone(): Promise<void> {
    const pids = existsSync(homeLayout(this.home).logs)
      ? [...this.log().matchAll(/"pid":(\d+)/g)].map((match) => Number(match[1]))
      : [];
    for (const pid of pids) {
      if (pid !== this.child.pid && isWorker(pid)) process.kill(pid, 'SIGKILL');
    }
    await until(() => !pids.some(isWorker));
  }
}

/** Starts a daemon and waits until it answers. */
export async function startDaemon(options: StartOptions = {}): Promise<TestDaemon> {
  const daemon = new TestDaemon(options);
  let ended = false;
  void daemon.exit.then(() => (ended = true));
  await until(async () => {
    if (ended) throw new Error(`the daemon ended: ${daemon.stderr}`);
    return connect({ home: daemon.home }).then(
      (client) => client.close().then(() => true),
      () => false,
    );
  });
  return daemon;
}

/** Whether a process is a worker of ours (and not a stranger that got its id). */
export function isWorker(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('src/worker/main');
  } catch {
    return false;
  }
}

/** Waits until the condition holds; the limit is far beyond what a busy machine needs. */
export async function until(condition: () => boolean | Promise<boolean>, limitMs = 60_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${condition}`);
    await sleep(20);
  }
}

/** Waits until the job is in the state; fails when it settles in another. */
export async function untilState(client: Client, job: string, state: Job['state']): Promise<Job> {
  let found: Job | undefined;
  await until(async () => {
    found = (await client.call('job.get', { job })).job;
    if (found.state === 'failed' && state !== 'failed')
      throw new Error(`failed: ${JSON.stringify(found.error)}`);
    return found.state === state;
  });
  return found!;
}

/** Reads the events of a job until one matches; gives all that were read. */
export async function eventsUntil(
  client: Client,
  job: string,
  last: (event: JobEvent) => boolean,
  since = 0,
): Promise<JobEvent[]> {
  const events: JobEvent[] = [];
  for await (const event of client.follow(job, { since })) {
    events.push(event);
    if (last(event)) return events;
  }
  throw new Error('the events ended');
}

export function isState(state: Job['state']): (event: JobEvent) => boolean {
  return (event) => event.kind === 'state' && event.body.state === state;
}

/** The process of a job's worker, which its daemon has logged. */
export function workerPid(daemon: TestDaemon, job: string): number {
  const lines = daemon
    .log()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { msg: string; job?: string; pid?: number });
  return lines.findLast((line) => line.msg === 'job started' && line.job === job)!.pid!;
}
