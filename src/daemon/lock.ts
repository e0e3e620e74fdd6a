/**
 * One daemon per home. The lock is an exclusive transaction on a small SQLite file: SQLite takes it with fcntl
 * locks, which the kernel drops when the process ends, however it ends. So a lock file that is left behind never
 * blocks a start, and no process id has to be guessed about.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { AnnealError } from '../../proto/errors.ts';

export interface HomeLock {
  release(): void;
}

/** Takes the lock or throws `daemon_already_running`; the process id in the `.pid` file beside it is for people. */
export function lockHome(path: string, home: string): HomeLock {
  const pidFile = `${path}.pid`;
  let database: DatabaseSync;
  try {
    database = new DatabaseSync(path);
    // Nothing is ever written, so no journal file need lie about.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA busy_timeout = 0');
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    if (!(error instanceof Error && error.message.includes('locked'))) throw error;
    throw new AnnealError('daemon_already_running', `A daemon${holder(pidFile)} already serves ${home}.`, {
      hint: 'Use it (`anneal status`), stop it (`anneal down`), or set ANNEAL_HOME to another folder.',
    });
  }
  writeFileSync(pidFile, `${process.pid}\n`);
  return { release: () => database.close() };
}

function holder(pidFile: string): string {
  try {
    return ` (process ${readFileSync(pidFile, 'utf8').trim()})`;
  } catch {
    return '';
  }
}
