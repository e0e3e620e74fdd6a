/**
 * The job store: one SQLite database in WAL mode. Jobs, their events, and the ids of requests that changed
 * something. Times are Unix seconds; bodies are JSON.
 *
 * What is appended inside `transaction` is handed to `onEvents` only after the commit: nothing is published that
 * is not stored. A commit survives the death of the process (not a power failure in the same moment: the database
 * is then consistent, and a job goes on from its checkpoint).
 */
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Job, Waiting } from '../../proto/commands.ts';
import { AnnealError, type ErrorBody } from '../../proto/errors.ts';
import type { EventBody, EventKind, JobEvent } from '../../proto/events.ts';
import { tensorboardFolder } from '../../proto/home.ts';
import { isFinal, type JobState } from '../../proto/states.ts';
import type { RecipeSource, Retry } from '../../proto/worker.ts';
import { decodeNumbers, encodeNumbers } from './json.ts';
import { migrate } from './schema.ts';

/** What the daemon keeps of a job beside what clients see. */
export interface StoredJob {
  job: Job;
  /** Row number; the id is `j<row>`. */
  row: number;
  recipe: RecipeSource | null;
  fresh: boolean;
  /** What a stop that is under way was asked for; `yield`: the job is queued again. */
  intent: 'pause' | 'cancel' | 'yield' | null;
  /** Workers that died in a row without a new event. */
  deaths: number;
  /** Process of the worker, and when it started (clock ticks since boot): together they are never reused. */
  workerPid: number | null;
  workerStart: string | null;
  /** Hours of the day in which it may run; see proto/window.ts. */
  window: string | null;
  /** It does not wait for a running job of lower priority. */
  preempt: boolean;
  retry: Retry;
  /** Unix seconds: it may not start before. */
  notBefore: number | null;
  /** Stages to test instead of running the recipe; empty: all that can be. */
  selftest: string[] | null;
}

export interface NewJob {
  name: string;
  kind: Job['kind'];
  device: string;
  priority: number;
  recipe: RecipeSource | null;
  fresh: boolean;
  window?: string | null;
  preempt?: boolean;
  retry?: Retry;
  selftest?: string[] | null;
}

/** Of a job whose recipe says nothing. */
export const DEFAULT_RETRY: Retry = { limit: 2, delay_seconds: 0 };

type Row = Record<string, string | number | null>;

export class Store {
  readonly #database: DatabaseSync;
  readonly #home: string;
  readonly #statements = new Map<string, StatementSync>();
  readonly #onEvents: (events: JobEvent[]) => void;
  #appended: JobEvent[] | undefined;

  constructor(path: string, onEvents: (events: JobEvent[]) => void) {
    this.#onEvents = onEvents;
    this.#database = new DatabaseSync(path);
    this.#database.exec(`
      PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864;
      PRAGMA temp_store = MEMORY;`);
    migrate(this.#database, path);
    this.#home = dirname(path);
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
      const { window = null, preempt = false, retry = DEFAULT_RETRY, selftest = null } = job;
      const { lastInsertRowid } = this.#statement(
        `INSERT INTO jobs (name, kind, state, priority, device, created_at, recipe, fresh, window, preempt,
           retry_limit, retry_seconds, selftest)
         VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ).run(
        job.name,
        job.kind,
        job.priority,
        job.device,
        now(),
        job.recipe && JSON.stringify(job.recipe),
        Number(job.fresh),
        window,
        Number(preempt),
        retry.limit,
        retry.delay_seconds,
        selftest && JSON.stringify(selftest),
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
    return toStoredJob(row, this.#home);
  }

  /** The job of this id, or the newest recipe job of this name; else `job_not_found`. */
  find(reference: string): StoredJob {
    const byId =
      /^j\d{1,15}$/.test(reference) && this.#get('SELECT * FROM jobs WHERE id = ?', rowOf(reference));
    const row =
      byId ||
      this.#get("SELECT * FROM jobs WHERE name = ? AND kind = 'recipe' ORDER BY id DESC LIMIT 1", reference);
    if (!row) throw notFound(reference);
    return toStoredJob(row, this.#home);
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
    return rows.map((row) => toStoredJob(row, this.#home));
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
           worker_pid = NULL, worker_start = NULL, waiting = NULL, not_before = NULL
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

  /** The job is not to start before this time (Unix seconds). */
  setNotBefore(id: string, time: number): void {
    this.#statement('UPDATE jobs SET not_before = ? WHERE id = ?').run(time, rowOf(id));
  }

  /** Notes what a queued job waits for; says so in an event when that is another thing than before. */
  setWaiting(id: string, waiting: Waiting): void {
    const text = JSON.stringify(waiting);
    const before = this.#get('SELECT waiting FROM jobs WHERE id = ?', rowOf(id))?.waiting;
    if (before === text) return;
    this.transaction(() => {
      this.#statement('UPDATE jobs SET waiting = ? WHERE id = ?').run(text, rowOf(id));
      this.append(id, 'queue', waiting);
    });
  }

  /** From now on stages that have failed count as not tried. */
  forgetFailures(id: string): void {
    this.#statement('UPDATE jobs SET tried_from = last_seq, deaths = 0 WHERE id = ?').run(rowOf(id));
  }

  /** Stages that have failed in the present try, with their errors. */
  failures(id: string): Record<string, ErrorBody> {
    const { tried_from: from } = this.#get('SELECT tried_from FROM jobs WHERE id = ?', rowOf(id))!;
    const failures: Record<string, ErrorBody> = {};
    for (const event of this.events(id, from as number, -1, ['stage'])) {
      if (event.kind !== 'stage' || event.body.phase !== 'failed') continue;
      failures[event.body.stage] = event.body.error as ErrorBody;
    }
    return failures;
  }

  /** The newest event of a kind. */
  newest<K extends EventKind>(id: string, kind: K): EventBody<K> | undefined {
    const row = this.#get(
      'SELECT body FROM events WHERE job = ? AND kind = ? ORDER BY seq DESC LIMIT 1',
      rowOf(id),
      kind,
    );
    return row && (decodeNumbers(row.body as string) as EventBody<K>);
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
      .slice(0, limit < 0 ? undefined : limit);
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

function toStoredJob(row: Row, home: string): StoredJob {
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
    waiting: row.waiting === null ? null : JSON.parse(row.waiting as string),
    window: row.window,
    selftest: row.selftest !== null,
    tensorboard: tensorboardFolder(home, `j${row.id}`),
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
    window: row.window as string | null,
    preempt: row.preempt === 1,
    retry: { limit: row.retry_limit as number, delay_seconds: row.retry_seconds as number },
    notBefore: row.not_before as number | null,
    selftest: row.selftest === null ? null : (JSON.parse(row.selftest as string) as string[]),
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
