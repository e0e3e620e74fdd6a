/**
 * The tables of the job store, and how those of earlier versions become the present ones. Times are Unix seconds;
 * bodies, errors, recipes and what a job waits for are JSON.
 */
import type { DatabaseSync } from 'node:sqlite';
import { AnnealError } from '../../proto/errors.ts';

/** Version n of the tables is what the first n of these make. What is here is never changed, only added to. */
const VERSIONS = [
  `CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL, device TEXT NOT NULL,
    created_at REAL NOT NULL, started_at REAL, finished_at REAL, attempts INTEGER NOT NULL DEFAULT 0,
    stage TEXT, last_seq INTEGER NOT NULL DEFAULT 0, error TEXT, recipe TEXT, fresh INTEGER NOT NULL,
    intent TEXT, deaths INTEGER NOT NULL DEFAULT 0, worker_pid INTEGER, worker_start TEXT
  ) STRICT;
  CREATE INDEX jobs_by_state ON jobs (state);
  CREATE INDEX jobs_by_name ON jobs (name);
  CREATE TABLE events (
    job INTEGER NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, time REAL NOT NULL, key TEXT, body TEXT NOT NULL,
    PRIMARY KEY (job, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX events_by_kind ON events (job, kind, seq);
  CREATE UNIQUE INDEX events_by_key ON events (job, key) WHERE key IS NOT NULL;
  CREATE TABLE requests (
    id TEXT PRIMARY KEY, digest TEXT NOT NULL, job INTEGER NOT NULL, time REAL NOT NULL
  ) STRICT, WITHOUT ROWID;`,
  // Windows, preemption, retries; where the present try began (stages that failed before it are tried again).
  `ALTER TABLE jobs ADD COLUMN window TEXT;
  ALTER TABLE jobs ADD COLUMN preempt INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE jobs ADD COLUMN retry_limit INTEGER NOT NULL DEFAULT 2;
  ALTER TABLE jobs ADD COLUMN retry_seconds REAL NOT NULL DEFAULT 0;
  ALTER TABLE jobs ADD COLUMN not_before REAL;
  ALTER TABLE jobs ADD COLUMN waiting TEXT;
  ALTER TABLE jobs ADD COLUMN tried_from INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE jobs ADD COLUMN selftest TEXT;`,
];

/** Brings the tables of a database to the present version; `path` is for the message. */
export function migrate(database: DatabaseSync, path: string): void {
  const version = database.prepare('PRAGMA user_version').get()!.user_version as number;
  if (version > VERSIONS.length) {
    throw new AnnealError(
      'internal',
      `${path} was written by a later version of anneal (schema ${version}).`,
      {
        hint: `This version knows schemas up to ${VERSIONS.length}: use that version, or set ANNEAL_HOME to a new folder.`,
      },
    );
  }
  if (version === VERSIONS.length) return;
  const steps = VERSIONS.slice(version).join('\n');
  database.exec(`BEGIN; ${steps} PRAGMA user_version = ${VERSIONS.length}; COMMIT`);
}
