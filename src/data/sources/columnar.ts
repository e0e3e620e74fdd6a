/**
 * Parquet and Arrow are read in threads of their own. Decoding them is much work that is not ours to divide, and a
 * damaged file can make it endless, fill the memory, or throw where nobody listens: then the thread goes, and the
 * file is named.
 */
import { extname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { AnnealError, type ErrorBody } from '../../../proto/errors.ts';
import type { Range } from './ranges.ts';
import type { Format, SourceSettings } from './settings.ts';
import type { RawRecord, SourceUnit } from './unit.ts';

export type ColumnarTask =
  | { task: 'read'; unit: SourceUnit; settings: SourceSettings }
  | { task: 'ranges'; unit: SourceUnit; unitBytes: number };

/** From the thread. */
export type ColumnarReply =
  | { records: RawRecord[] }
  | { ranges: Range[] }
  | { done: true }
  | { error: ErrorBody };

/** Groups that a thread may be ahead of its reader. */
export const GROUPS_AHEAD = 4;

/** A thread that says nothing for this long is in an endless loop: a group of rows takes seconds at most. */
let patienceMs = 300_000;
const HEAP_MB = 4096;
const MAX_IDLE = 2;

/** For tests and fuzzing, which are in a hurry. */
export function setColumnarPatience(ms: number): void {
  patienceMs = ms;
}

export function isColumnar(format: Format): boolean {
  return format === 'parquet' || format === 'arrow';
}

/** The last one that looks for ranges: many files are listed at once, and a thread each would cost more than the file. */
let looking: Promise<unknown> = Promise.resolve();

/** Runs of row groups or record batches of about `unitBytes`. */
export function columnarRanges(unit: SourceUnit, unitBytes: number): Promise<Range[]> {
  const ranges = looking.then(() => rangesOf(unit, unitBytes));
  looking = ranges.catch(() => undefined);
  return ranges;
}

async function rangesOf(unit: SourceUnit, unitBytes: number): Promise<Range[]> {
  let ranges: Range[] = [];
  // To the end of the task: a thread that is left before it is not used again.
  for await (const reply of runTask({ task: 'ranges', unit, unitBytes })) {
    if ('ranges' in reply) ranges = reply.ranges;
  }
  return ranges;
}

export async function* readColumnar(unit: SourceUnit, settings: SourceSettings): AsyncGenerator<RawRecord[]> {
  for await (const reply of runTask({ task: 'read', unit, settings })) {
    if ('records' in reply) yield reply.records;
  }
}

const idle: ColumnarThread[] = [];

async function* runTask(task: ColumnarTask): AsyncGenerator<ColumnarReply> {
  const { location } = task.unit;
  const thread = idle.pop() ?? new ColumnarThread();
  let ended = false;
  try {
    thread.start(task);
    for (;;) {
      const reply = await thread.reply(location);
      if ('error' in reply) {
        ended = true;
        const { code, message, ...details } = reply.error;
        throw new AnnealError(code, message, details);
      }
      if ('done' in reply) break;
      yield reply;
      thread.more();
    }
    ended = true;
  } finally {
    // One that was left in the middle of its task, or broke, is not used again.
    if (ended && idle.length < MAX_IDLE) {
      thread.rest();
      idle.push(thread);
    } else {
      await thread.close();
    }
  }
}

class ColumnarThread {
  readonly #worker: Worker;
  readonly #replies: ColumnarReply[] = [];
  #failure: Error | undefined;
  #wake = (): void => undefined;

  constructor() {
    this.#worker = new Worker(join(import.meta.dirname, `columnar_thread${extname(import.meta.filename)}`), {
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    });
    this.#worker.on('message', (reply: ColumnarReply) => {
      this.#replies.push(reply);
      this.#wake();
    });
    this.#worker.on('error', (error: Error) => {
      this.#failure ??= error;
      this.#wake();
    });
    this.#worker.on('exit', () => {
      this.#failure ??= new Error('its thread ended');
      const place = idle.indexOf(this);
      if (place >= 0) idle.splice(place, 1);
      this.#wake();
    });
  }

  start(task: ColumnarTask): void {
    this.#worker.ref();
    this.#worker.postMessage(task);
  }

  more(): void {
    this.#worker.postMessage('more');
  }

  /** Does not keep the process from ending. */
  rest(): void {
    this.#worker.unref();
  }

  async reply(location: string): Promise<ColumnarReply> {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      const reply = this.#replies.shift();
      if (reply !== undefined) return reply;
      if (this.#failure !== undefined) throw unreadable(location, this.#failure);
      const left = deadline - Date.now();
      if (left <= 0) throw unreadable(location, new Error(`no end of it after ${patienceMs / 1000} s`));
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

function unreadable(location: string, error: Error): AnnealError {
  const { code } = error as NodeJS.ErrnoException;
  const why =
    code === 'ERR_WORKER_OUT_OF_MEMORY' ? `it takes more than ${HEAP_MB} MB to decode` : error.message;
  return new AnnealError('file_unreadable', `${location} cannot be decoded: ${why.split('\n')[0]}.`, {
    path: location,
    hint: 'Make the file again, with row groups or record batches of a few hundred megabytes at most.',
    cause: error,
  });
}
