/**
 * The job store: one SQLite database in WAL mode. Jobs, their events, and the ids of requests that changed
 * something. Times are Unix seconds; bodies are JSON.
 *
 * What is appended inside `transaction` is handed to `onEvents` only after the commit: nothing is published that
 * is not stored. A commit survives the death of the process (not a power failure in the same moment: the database
 * is then consistent, and a job goes on from its checkpoint).
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Job } from '../../proto/commands.ts';
import { AnnealError, type ErrorBody } from '../../proto/errors.ts';
import type { EventBody, EventKind, JobEvent } from '../../proto/events.ts';
import { isFinal, type JobState } from '../../proto/states.ts';
import type { RecipeSource } from '../../proto/worker.ts';
import { decodeNumbers, encodeNumbers } from './json.ts';

/** What the daemon keeps of a job beside what clients see. */
export interface StoredJob {
  job: Job;
  /** Row number; the id is `j<row>`. */
  row: number;
  recipe: RecipeSource | null;
  fresh: boolean;
  /** What a stop that is under way was asked for. */
  intent: 'pause' | 'cancel' | null;
  /** Workers that died in a row without a new event. */
  deaths: number;
  /** Process of the worker, and when it started (clock ticks since boot): together they are never reused. */
  workerPid: number | null;
  workerStart: string | null;
}

export interface NewJob {
  name: string;
  kind: Job['kind'];
  device: string;
  priority: number;
  recipe: RecipeSource | null;
  fresh: boolean;
}

const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE jobs (
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
  ) STRICT, WITHOUT ROWID;
`;

type Row = Record<string, string | number | null>;

export class Store {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #onEvents: (events: JobEvent[]) => void;
  #appended: JobEvent[] | undefined;

  constructor(path: string, onEvents: (events: JobEvent[]) => void) {
    this.#onEvents = onEvents;
    this.#database = new DatabaseSync(path);
    this.#database.exec(`
      PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864;
      PRAGMA temp_store = MEMORY;`);
    const version = this.#get('PRAGMA user_version')!.user_version as number;
    if (version === 0)
      this.#database.exec(`BEGIN; ${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
    else if (version !== SCHEMA_VERSION) {
      throw new AnnealError(
        'internal',
        `${path} was written by another version of anneal (schema ${version}).`,
        {
          hint: `This version knows schema ${SCHEMA_VERSION}: use that version, or set ANNEAL_HOME to a new folder.`,
        },
      );
    }
  }

  close(): void {
    this.#database.close();
  }

  /** Runs `change` as one transaction, then publishes the events that it appended. Calls may be nested. */
  transaction<T>(change: () => T): T {
    if (this.#appended) return change();
    const appended: JobEvent[] = [];
    let result: T;
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      this.#appended = appended;
      result = change();
      this.#database.exec('COMMIT');
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw asStoreError(error);
    } finally {
      this.#appended = undefined;
    }
    if (appended.length > 0) this.#onEvents(appended);
    return result;
  }

  // Jobs

  createJob(job: NewJob): Job {
    return this.transaction(() => {
      const { lastInsertRowid } = this.#statement(
        `INSERT INTO jobs (name, kind, state, priority, device, created_at, recipe, fresh)
         VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)`,
      ).run(
        job.name,
        job.kind,
        job.priority,
        job.device,
        now(),
        job.recipe && JSON.stringify(job.recipe),
        Number(job.fresh),
      );
      const id = `j${lastInsertRowid}`;
      this.append(id, 'state', { state: 'queued', error: null, attempt: 0 });
      return this.job(id).job;
    });
  }

  /** The job of this id or throws `job_not_found`. */
  job(id: string): StoredJob {
    const row = this.#get('SELECT * FROM jobs WHERE id = ?', rowOf(id));
    if (!row) throw notFound(id);
    return toStoredJob(row);
  }

  /** The job of this id, or the newest recipe job of this name; else `job_not_found`. */
  find(reference: string): StoredJob {
    const byId =
      /^j\d{1,15}$/.test(reference) && this.#get('SELECT * FROM jobs WHERE id = ?', rowOf(reference));
    const row =
      byId ||
      this.#get("SELECT * FROM jobs WHERE name = ? AND kind = 'recipe' ORDER BY id DESC LIMIT 1", reference);
    if (!row) throw notFound(reference);
    return toStoredJob(row);
  }

  /** Newest first. */
  list(filter: { states?: readonly string[]; kinds?: readonly string[]; limit?: number }): StoredJob[] {
    const rows = this.#all(
      `SELECT * FROM jobs
       WHERE (?1 IS NULL OR state IN (SELECT value FROM json_each(?1)))
         AND (?2 IS NULL OR kind IN (SELECT value FROM json_each(?2)))
       ORDER BY id DESC LIMIT ?3`,
      filter.states ? JSON.stringify(filter.states) : null,
      filter.kinds ? JSON.stringify(filter.kinds) : null,
      filter.limit ?? -1,
    );
    return rows.map(toStoredJob);
  }

  countByState(): Record<string, number> {
    const rows = this.#all("SELECT state, count(*) AS n FROM jobs WHERE kind = 'recipe' GROUP BY state");
    return Object.fromEntries(rows.map((row) => [row.state as string, row.n as number]));
  }

  /** Changes the state, says so in an event, and forgets what belonged to the state before. */
  setState(id: string, state: JobState, error: ErrorBody | null = null): Job {
    return this.transaction(() => {
      const time = now();
      this.#statement(
        `UPDATE jobs SET state = ?2, error = ?3, intent = NULL,
           started_at = CASE WHEN ?2 = 'running' THEN coalesce(started_at, ?4) ELSE started_at END,
           finished_at = CASE WHEN ?5 THEN ?4 END,
           attempts = attempts + (?2 = 'running'),
           worker_pid = NULL, worker_start = NULL
         WHERE id = ?1`,
      ).run(rowOf(id), state, error && JSON.stringify(error), time, Number(isFinal(state)));
      this.append(id, 'state', { state, error, attempt: this.job(id).job.attempts });
      return this.job(id).job;
    });
  }

  setIntent(id: string, intent: StoredJob['intent']): void {
    this.#statement('UPDATE jobs SET intent = ? WHERE id = ?').run(intent, rowOf(id));
  }

  setDeaths(id: string, deaths: number): void {
    this.#statement('UPDATE jobs SET deaths = ? WHERE id = ?').run(deaths, rowOf(id));
  }

  setWorker(id: string, pid: number, start: string): void {
    this.#statement('UPDATE jobs SET worker_pid = ?, worker_start = ? WHERE id = ?').run(
      pid,
      start,
      rowOf(id),
    );
  }

  /** Removes generations that ended before `before`, and all but the newest `kept`. */
  pruneGenerations(before: number, kept: number): void {
    this.transaction(() => {
      const old = `SELECT id FROM jobs WHERE kind = 'generate' AND finished_at IS NOT NULL AND (finished_at < ?1
        OR id NOT IN (SELECT id FROM jobs WHERE kind = 'generate' ORDER BY id DESC LIMIT ?2))`;
      this.#statement(`DELETE FROM events WHERE job IN (${old})`).run(before, kept);
      this.#statement(`DELETE FROM jobs WHERE id IN (${old})`).run(before, kept);
      this.#statement('DELETE FROM requests WHERE time < ?').run(before);
    });
  }

  // Events

  /** Appends an event unless the job has one of this key; says whether it was new. */
  append<K extends EventKind>(id: string, kind: K, body: EventBody<K>, key: string | null = null): boolean {
    const job = rowOf(id);
    const { last_seq: last } = this.#get('SELECT last_seq FROM jobs WHERE id = ?', job) ?? {};
    if (last === undefined) throw notFound(id);
    const seq = (last as number) + 1;
    const time = now();
    const { changes } = this.#statement(
      'INSERT INTO events (job, seq, kind, time, key, body) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (job, key) WHERE key IS NOT NULL DO NOTHING',
    ).run(job, seq, kind, time, key, encodeNumbers(body));
    if (Number(changes) === 0) return false;
    const stage = kind === 'stage' ? (body as EventBody<'stage'>).stage : null;
    this.#statement(
      `UPDATE jobs SET last_seq = ?2, stage = coalesce(?3, stage), deaths = CASE WHEN ?4 THEN 0 ELSE deaths END
       WHERE id = ?1`,
    ).run(job, seq, stage, Number(key !== null));
    if (!this.#appended) throw new Error('append outside of a transaction');
    this.#appended.push({ job: id, seq, kind, time, body } as JobEvent);
    return true;
  }

  /** Stored events after `since`, oldest first. */
  events(id: string, since: number, limit: number, kinds?: readonly string[]): JobEvent[] {
    const select = 'SELECT seq, kind, time, body FROM events WHERE job = ? AND seq > ?';
    // By kind each from its index: of a million steps nobody may walk over all to find the ten notices.
    const rows = kinds
      ? [...new Set(kinds)].flatMap((kind) =>
          this.#all(`${select} AND kind = ? ORDER BY seq LIMIT ?`, rowOf(id), since, kind, limit),
        )
      : this.#all(`${select} ORDER BY seq LIMIT ?`, rowOf(id), since, limit);
    return rows
      .map((row) => ({ ...row, job: id, body: decodeNumbers(row.body as string) }) as unknown as JobEvent)
      .toSorted((a, b) => a.seq - b.seq)
      .slice(0, limit);
  }

  // Requests

  /** The job that an earlier request of this id made or changed. `digest` is of its body: an id means one request. */
  answered(requestId: string, digest: string): Job | undefined {
    const row = this.#get('SELECT digest, job FROM requests WHERE id = ?', requestId);
    if (!row) return undefined;
    if (row.digest !== digest) {
      throw new AnnealError('bad_request', 'This request id was used before, for another request.', {
        hint: 'Give every request an id of its own (a UUID); send the same id only to try the same request again.',
      });
    }
    return this.job(`j${row.job}`).job;
  }

  saveAnswered(requestId: string, digest: string, job: string): void {
    this.#statement('INSERT INTO requests (id, digest, job, time) VALUES (?, ?, ?, ?)').run(
      requestId,
      digest,
      rowOf(job),
      now(),
    );
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #get(sql: string, ...values: (string | number | null)[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined;
  }

  #all(sql: string, ...values: (string | number | null)[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }
}

function now(): number {
  return Date.now() / 1000;
}

function rowOf(id: string): number {
  return Number(id.slice(1));
}

function notFound(reference: string): AnnealError {
  return new AnnealError('job_not_found', `There is no job '${reference}'.`, {
    hint: '`anneal jobs` lists them.',
    path: 'job',
  });
}

function toStoredJob(row: Row): StoredJob {
  const job = {
    id: `j${row.id}`,
    name: row.name,
    kind: row.kind,
    state: row.state,
    priority: row.priority,
    device: row.device,
    created_at: row.created_at,
    started_at: row.started_at,
    finished_at: row.finished_at,
    attempts: row.attempts,
    stage: row.stage,
    last_seq: row.last_seq,
    error: row.error === null ? null : JSON.parse(row.error as string),
  } as Job;
  return {
    job,
    row: row.id as number,
    recipe: row.recipe === null ? null : (JSON.parse(row.recipe as string) as RecipeSource),
    fresh: row.fresh === 1,
    intent: row.intent as StoredJob['intent'],
    deaths: row.deaths as number,
    workerPid: row.worker_pid as number | null,
    workerStart: row.worker_start as string | null,
  };
}

/** SQLite's own codes (SQLITE_FULL 13, SQLITE_IOERR 10) as what a person can act on. */
function asStoreError(error: unknown): unknown {
  const code = (error as { errcode?: number }).errcode;
  if (code === undefined || ((code & 0xff) !== 13 && (code & 0xff) !== 10)) return error;
  return new AnnealError('disk_full', `The job store cannot be written: ${(error as Error).message}.`, {
    hint: 'Free some space on the disk of ANNEAL_HOME; jobs wait and go on by themselves.',
    cause: error,
  });
}
