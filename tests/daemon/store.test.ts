/** The job store by itself: events once, order, retention, retries; and the order of the queue. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { JobEvent } from '../../proto/events.ts';
import { nextToStart } from '../../src/daemon/scheduler.ts';
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

it('starts one job a device, by priority and then age', () => {
  const { store } = openStore();
  const jobs = [
    newJob({ device: 'cpu' }),
    newJob({ device: 'cuda:0', priority: 1 }),
    newJob({ device: 'cpu', priority: 2 }),
    newJob({ device: 'cpu', priority: 2 }),
    newJob({ device: 'cuda:0', priority: 1 }),
  ].map((job) => store.createJob(job).id);
  const queued = store.list({ states: ['queued'] });
  const started = (...busy: string[]) => nextToStart(queued, new Set(busy)).map(({ job }) => job.id);
  expect(started()).toEqual([jobs[2], jobs[1]]);
  expect(started('cpu')).toEqual([jobs[1]]);
  expect(started('cpu', 'cuda:0')).toEqual([]);
});
