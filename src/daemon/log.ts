/**
 * The daemon's log: one JSON object a line (pino) in `$ANNEAL_HOME/logs/anneald.log`, and on stderr where a person
 * looks on (`--foreground`). Rotated by size; a disk that is full loses log lines, never the daemon.
 */
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Logger, pino } from 'pino';

export type Log = Logger;

const MAX_BYTES = 8 * 1024 * 1024;
const KEPT = 4;
const CHECK_MS = 60_000;

export interface DaemonLog {
  log: Log;
  close(): void;
}

/** Opens the log of a daemon. `foreground` repeats each line on stderr. */
export function openLog(folder: string, options: { foreground: boolean; level: string }): DaemonLog {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'anneald.log');
  rotateLog(path);
  const file = pino.destination({ dest: path, sync: true });
  file.on('error', () => {
    // Disk full or folder removed: the next line tries again.
  });
  const streams: { level: 'trace'; stream: NodeJS.WritableStream | typeof file }[] = [
    { level: 'trace', stream: file },
  ];
  if (options.foreground) {
    streams.push({ level: 'trace', stream: process.stderr });
    process.stderr.on('error', () => {
      // The terminal has gone: the file has the rest.
    });
  }
  const log = pino(
    { level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.multistream(streams),
  );
  const timer = setInterval(() => {
    if (rotateLog(path)) file.reopen();
  }, CHECK_MS);
  timer.unref();
  return {
    log,
    close: () => {
      clearInterval(timer);
      file.end();
    },
  };
}

/** Moves `path` to `path.1` (and so on, the oldest falls off) when it has grown large; says whether it did. */
export function rotateLog(path: string, maxBytes: number = MAX_BYTES): boolean {
  try {
    if (statSync(path).size < maxBytes) return false;
  } catch {
    return false;
  }
  for (let n = KEPT - 1; n >= 0; n--) {
    try {
      renameSync(n === 0 ? path : `${path}.${n}`, `${path}.${n + 1}`);
    } catch {
      // There are not so many yet.
    }
  }
  return true;
}
