/**
 * One worker as a process: started, listened to, watched for hanging, killed when it must be. It knows nothing of
 * jobs. `onExit` comes once, after the last message.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, readSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import type { FromWorker, ToWorker, WorkerTask } from '../../proto/worker.ts';
import { WORKER_FLAGS } from '../worker/flags.ts';
import { rotateLog } from './log.ts';
import { type Settings, workerEnvironment } from './settings.ts';

/** Messages that tasks send; heartbeats end here. */
export type WorkerMessage = Exclude<FromWorker, { type: 'heartbeat' }>;

export interface WorkerEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Why it was killed as hanging, or null. */
  hung: string | null;
  /** What it wrote last to stderr: the words of an abort. */
  lastWords: string;
}

export interface WorkerOptions {
  settings: Settings;
  /** File for its stdout and stderr. */
  output: string;
  onMessage(message: WorkerMessage): void;
  onExit(end: WorkerEnd): void;
}

const CHECK_MS = 500;
const OUTPUT_BYTES = 1024 * 1024;
const LAST_WORDS_BYTES = 2_000;

export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #options: WorkerOptions;
  readonly #watch: NodeJS.Timeout;
  readonly #output: number;
  #lastHeartbeat = performance.now();
  #lastCheck = performance.now();
  #hung: string | null = null;
  #stored = 0;

  constructor(task: WorkerTask, options: WorkerOptions) {
    this.#options = options;
    this.#output = openOutput(options.output);
    // The worker is of the same build as this file: dist/**/*.js, or the TypeScript sources in tests.
    const main = join(import.meta.dirname, `../worker/main${extname(import.meta.filename)}`);
    this.#child = fork(main, [], {
      // A group of its own: Ctrl-C in the terminal of a foreground daemon is for the daemon alone.
      detached: true,
      stdio: ['ignore', this.#output, this.#output, 'ipc'],
      // Structured clone keeps NaN and Infinity, which JSON turns to null.
      serialization: 'advanced',
      env: workerEnvironment(),
      execArgv: WORKER_FLAGS,
    });
    this.#child.on('message', (message) => this.#receive(message as FromWorker));
    this.#child.on('error', () => {
      // Failed to start, or a message could not be sent to one that ends: `close` follows.
    });
    let closed = false;
    const onClose = (code: number | null, signal: NodeJS.Signals | null): void => {
      if (closed) return;
      closed = true;
      this.#closed(code, signal);
    };
    this.#child.on('close', onClose);
    if (this.#child.pid === undefined) setImmediate(onClose, null, null);
    this.#watch = setInterval(() => this.#check(), CHECK_MS);
    this.send({ type: 'task', task });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message);
  }

  /** Tells the worker that one more of its messages is safe. */
  confirmStored(): void {
    this.#stored += 1;
    this.send({ type: 'stored', count: this.#stored });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Resident memory in bytes, null when it cannot be told. */
  residentBytes(): number | null {
    try {
      const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
      const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(status)?.[1];
      return kilobytes === undefined ? null : Number(kilobytes) * 1024;
    } catch {
      return null;
    }
  }

  #receive(message: FromWorker): void {
    this.#lastHeartbeat = performance.now();
    if (message.type !== 'heartbeat') {
      this.#options.onMessage(message);
    } else if (message.busy_seconds > this.#options.settings.callSeconds) {
      this.#killHung(`a call of the engine took ${Math.round(message.busy_seconds)} s`);
    }
  }

  #check(): void {
    const now = performance.now();
    const late = now - this.#lastCheck - CHECK_MS;
    this.#lastCheck = now;
    // If the daemon itself was stopped for a while, the heartbeats of that time wait to be read.
    if (late > CHECK_MS) this.#lastHeartbeat += late;
    const silent = (now - this.#lastHeartbeat) / 1000;
    if (silent > this.#options.settings.hangSeconds)
      this.#killHung(`it said nothing for ${Math.round(silent)} s`);
  }

  #killHung(reason: string): void {
    this.#hung ??= reason;
    this.kill();
  }

  #closed(code: number | null, signal: NodeJS.Signals | null): void {
    clearInterval(this.#watch);
    const lastWords = tail(this.#output);
    closeSync(this.#output);
    this.#options.onExit({ code, signal, hung: this.#hung, lastWords });
  }
}

/** When a process started, as the kernel tells it; undefined when there is none. With the id it is unique. */
export function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22, counted after the program's name, which may hold blanks and brackets. A zombie has ended.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** A file and not a pipe: a worker must be able to write, and to end well, after its daemon has gone. */
function openOutput(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true });
    rotateLog(path, OUTPUT_BYTES);
    return openSync(path, 'a+', 0o600);
  } catch {
    // The disk is full: what the worker says is lost, the worker need not be.
    return openSync('/dev/null', 'r+');
  }
}

function tail(file: number): string {
  const size = fstatSync(file).size;
  const length = Math.min(size, LAST_WORDS_BYTES);
  const buffer = Buffer.alloc(length);
  readSync(file, buffer, 0, length, size - length);
  return buffer.toString('utf8').trim();
}
