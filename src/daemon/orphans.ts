/**
 * Workers that outlive a daemon that was killed. Such a worker notices at once, checkpoints, writes the events that
 * it could not hand over to a file beside its job, and ends. The next daemon lets it finish before it starts the
 * job again: two workers must never write one checkpoint.
 */
import { readFileSync } from 'node:fs';
import { decodeBody } from '../../proto/wire.ts';
import type { WorkerEvent } from '../../proto/worker.ts';
import { processStart } from './worker-process.ts';

export interface Orphan {
  device: string;
  /** Stops waiting; the worker is left alone. */
  forget(): void;
}

const POLL_MS = 100;

/** Calls `onEnd` when the process is gone; kills it when it takes longer than `patienceSeconds`. */
export function waitForOrphan(
  pid: number,
  start: string,
  device: string,
  patienceSeconds: number,
  onEnd: () => void,
): Orphan {
  const deadline = performance.now() + patienceSeconds * 1000;
  const timer = setInterval(() => {
    if (processStart(pid) !== start) {
      clearInterval(timer);
      onEnd();
    } else if (performance.now() > deadline) {
      kill(pid);
    }
  }, POLL_MS);
  return { device, forget: () => clearInterval(timer) };
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended in this very moment.
  }
}

/** The events that a worker left in its file; none when there is no such file. */
export function readPendingEvents(path: string): WorkerEvent[] {
  let text: string;
  try {
    text = readFileSync(path, 'latin1');
  } catch {
    return [];
  }
  // What follows the last line end was cut off in the middle of writing.
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line) => decodeBody(Buffer.from(line, 'base64')) as unknown as WorkerEvent);
}
