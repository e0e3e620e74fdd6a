/** The job store by itself: events once, order, retention, retries. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, it } from 'vitest';
import type { JobEvent } from '../../proto/events.ts';
import { type NewJob, Store } from '../../src/daemon/store.ts';
import { atEnd, temporaryFolder } from './harness.ts';

function openStore(): { store: Store; published: JobEvent[] } {
  const published: JobEvent[] = [];
  const store = new Store(join(temporaryFolder(), 'state.db'), (events) => published.push(...events));
  atEnd(() => store.close());
  return { store, published };
}

function newJob(fields: Partial<NewJob> = {}): NewJob {
  return { name: 'a', kind: 'recipe', device: 'cpu', priority: 0, recipe: null, fresh: false, ...fields };
}

function progress(done: number) {
  return {
    stage: 's',
    done,
    total: null,
    unit: 'step',
    metrics: { loss: done === 2 ? Number.NaN : 1 / done },
  };
}

it('keeps an event once for each key, numbers without gaps, and publishes what it stored', () => {
  const { store, published } = openStore();
  const { id } = store.createJob(newJob());
  const append = (done: number, key: string | null) =>
    store.transaction(() => store.append(id, 'progress', progress(done), key));
  expect([
    append(1, 'k1'),
    append(2, 'k2'),
    append(1, 'k1'),
    append(3, null),
    append(3, null),
    append(2, 'k2'),
  ]).toEqual([true, true, false, true, true, false]);
  const events = store.events(id, 0, 100);
  expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
  expect(events).toEqual(published);
  expect((events[2] as Extract<JobEvent, { kind: 'progress' }>).body.metrics.loss).toBeNaN();
  expect(store.events(id, 2, 2).map(({ seq }) => seq)).toEqual([3, 4]);
  expect(store.events(id, 0, 9, ['state'])).toHaveLength(1);
  expect(store.events(id, 0, 3, ['progress', 'state', 'state', 'log']).map(({ seq }) => seq)).toEqual([
    1, 2, 3,
  ]);
});

it('publishes nothing of a transaction that fails, and keeps nothing', () => {
  const { store, published } = openStore();
  const { id } = store.createJob(newJob());
  const before = published.length;
  const failing = () =>
    store.transaction(() => {
      store.append(id, 'progress', progress(1), 'k');
      store.setState(id, 'running');
      throw new Error('no');
    });
  expect(failing).toThrow('no');
  expect(published).toHaveLength(before);
  expect(store.job(id).job).toMatchObject({ state: 'queued', last_seq: 1 });
});

it('a new event, not a repeated one, forgives the deaths of workers before', () => {
  const { store } = openStore();
  const { id } = store.createJob(newJob());
  const append = (key: string | null) =>
    store.transaction(() => store.append(id, 'progress', progress(1), key));
  append('k1');
  store.setDeaths(id, 2);
  append('k1');
  append(null);
  expect(store.job(id).deaths).toBe(2);
  append('k2');
  expect(store.job(id).deaths).toBe(0);
});

it('removes generations that are old, and none that run', () => {
  const { store } = openStore();
  const recipe = store.createJob(newJob());
  const ended = [1, 2, 3].map(
    () => store.setState(store.createJob(newJob({ kind: 'generate' })).id, 'succeeded').id,
  );
  const running = store.createJob(newJob({ kind: 'generate' })).id;
  store.pruneGenerations(0, 2);
  expect(store.list({}).map(({ job }) => job.id)).toEqual([running, ended[2], recipe.id]);
  store.pruneGenerations(Date.now() / 1000 + 1, 100);
  expect(store.list({}).map(({ job }) => job.id)).toEqual([running, recipe.id]);
  expect(store.events(ended[0]!, 0, 10)).toEqual([]);
});

it('takes over the tables of the first version', () => {
  const path = join(temporaryFolder(), 'state.db');
  const old = new DatabaseSync(path);
  // As that version made them.
  old.exec(`
    CREATE TABLE jobs (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      name TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL, device TEXT NOT NULL,
      created_at REAL NOT NULL, started_at REAL, finished_at REAL, attempts INTEGER NOT NULL DEFAULT 0,
      stage TEXT, last_seq INTEGER NOT NULL DEFAULT 0, error TEXT, recipe TEXT, fresh INTEGER NOT NULL,
      intent TEXT, deaths INTEGER NOT NULL DEFAULT 0, worker_pid INTEGER, worker_start TEXT
    ) STRICT;
    CREATE TABLE events (
      job INTEGER NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, time REAL NOT NULL, key TEXT, body TEXT NOT NULL,
      PRIMARY KEY (job, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX events_by_key ON events (job, key) WHERE key IS NOT NULL;
    INSERT INTO jobs (name, kind, state, priority, device, created_at, fresh)
      VALUES ('old', 'recipe', 'queued', 3, 'cpu', 1.5, 0);
    PRAGMA user_version = 1;`);
  old.close();
  const store = new Store(path, () => {});
  atEnd(() => store.close());
  expect(store.job('j1')).toMatchObject({
    job: { name: 'old', priority: 3, waiting: null, window: null },
    preempt: false,
    retry: { limit: 2, delay_seconds: 0 },
    selftest: null,
  });
  store.setState('j1', 'running');
  expect(store.events('j1', 0, 10)).toHaveLength(1);
});

it('remembers the stages that failed until they are tried again', () => {
  const { store } = openStore();
  const { id } = store.createJob(newJob());
  const fail = (stage: string, attempt: number) =>
    store.transaction(() =>
      store.append(
        id,
        'stage',
        {
          stage,
          type: stage,
          phase: 'failed',
          index: 0,
          count: 1,
          artifact: null,
          seconds: null,
          error: { code: 'worker_died', message: stage },
        },
        `${stage}/${attempt}`,
      ),
    );
  fail('a', 1);
  store.setState(id, 'queued');
  expect(store.failures(id)).toEqual({ a: { code: 'worker_died', message: 'a' } });
  store.forgetFailures(id);
  expect(store.failures(id)).toEqual({});
  fail('b', 2);
  expect(Object.keys(store.failures(id))).toEqual(['b']);
});
