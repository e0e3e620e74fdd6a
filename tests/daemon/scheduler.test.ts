/**
 * The queue by a clock of the tests: order, preemption, windows, delays; then the supervisor with real workers, whose
 * night begins when the test says so.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { homeLayout } from '../../proto/home.ts';
import { parseWindow, windowAt } from '../../proto/window.ts';
import type { Clock } from '../../src/daemon/clock.ts';
import { Generations } from '../../src/daemon/generations.ts';
import { Inbox } from '../../src/daemon/inbox.ts';
import { decide, type Holder } from '../../src/daemon/scheduler.ts';
import { readSettings } from '../../src/daemon/settings.ts';
import { type NewJob, Store } from '../../src/daemon/store.ts';
import { Supervisor } from '../../src/daemon/supervisor.ts';
import { atEnd, temporaryFolder, tinyRecipe, until } from './harness.ts';

/** Local time on a day without a change of the clocks. */
const at = (hour: number, minute = 0, day = 10) => new Date(2026, 5, day, hour, minute).getTime();

class FakeClock implements Clock {
  time: number;
  #alarms: { time: number; callback: () => void }[] = [];

  constructor(time: number) {
    this.time = time;
  }

  now(): number {
    return this.time;
  }

  at(time: number, callback: () => void): () => void {
    const alarm = { time, callback };
    this.#alarms.push(alarm);
    return () => {
      this.#alarms = this.#alarms.filter((other) => other !== alarm);
    };
  }

  advanceTo(time: number): void {
    this.time = time;
    const due = this.#alarms.filter((alarm) => alarm.time <= time);
    this.#alarms = this.#alarms.filter((alarm) => alarm.time > time);
    for (const { callback } of due) callback();
  }
}

function openStore(): Store {
  const store = new Store(join(temporaryFolder(), 'state.db'), () => {});
  atEnd(() => store.close());
  return store;
}

function newJob(fields: Partial<NewJob> = {}): NewJob {
  return { name: 'a', kind: 'recipe', device: 'cpu', priority: 0, recipe: null, fresh: false, ...fields };
}

it('windows are read, also across midnight', () => {
  expect(parseWindow('22:00-07:30')).toEqual({ from: 1320, to: 450 });
  expect(parseWindow('9:05 - 17:00')).toEqual({ from: 545, to: 1020 });
  for (const wrong of ['', '22-7', '24:00-07:00', '22:60-23:00', '07:00-07:00', '22:00-07:00x'])
    expect(parseWindow(wrong)).toBeUndefined();
  const night = parseWindow('22:00-07:00')!;
  expect(windowAt(night, at(21, 59))).toEqual({ open: false, changesAt: at(22) });
  expect(windowAt(night, at(22))).toEqual({ open: true, changesAt: at(7, 0, 11) });
  expect(windowAt(night, at(6, 59))).toEqual({ open: true, changesAt: at(7) });
  expect(windowAt(night, at(7))).toEqual({ open: false, changesAt: at(22) });
  const day = parseWindow('09:00-17:00')!;
  expect(windowAt(day, at(8))).toEqual({ open: false, changesAt: at(9) });
  expect(windowAt(day, at(12))).toEqual({ open: true, changesAt: at(17) });
  expect(windowAt(day, at(20))).toEqual({ open: false, changesAt: at(9, 0, 11) });
});

it('one job a device starts, by priority and then age; the others wait for it', () => {
  const store = openStore();
  const jobs = [
    newJob({ device: 'cpu' }),
    newJob({ device: 'cuda:0', priority: 1 }),
    newJob({ device: 'cpu', priority: 2 }),
    newJob({ device: 'cpu', priority: 2 }),
    newJob({ device: 'cuda:0', priority: 1 }),
  ].map((job) => store.createJob(job).id);
  const queued = store.list({ states: ['queued'] });
  const busy = (...devices: string[]): Holder[] =>
    devices.map((device) => ({ id: 'j9', device, stored: undefined }));
  const started = (...devices: string[]) =>
    decide(queued, busy(...devices), 0).start.map(({ job }) => job.id);
  expect(started()).toEqual([jobs[2], jobs[1]]);
  expect(started('cpu')).toEqual([jobs[1]]);
  expect(started('cpu', 'cuda:0')).toEqual([]);
  const { waiting } = decide(queued, busy('cpu'), 0);
  expect(waiting.get('j4')).toEqual({ reason: 'device', job: 'j9', until: null, text: 'waits for j9' });
  expect(waiting.get('j5')?.text).toBe('waits for j2');
  expect(decide(queued, [], 0).waiting.get('j1')?.text).toBe('waits for j3');
});

it('a job that preempts has a lower one give way, once, and no other', () => {
  const store = openStore();
  const running = store.createJob(newJob({ priority: 1 }));
  const holder = (): Holder => ({ id: running.id, device: 'cpu', stored: store.job(running.id) });
  const submit = (priority: number, preempt: boolean) => store.createJob(newJob({ priority, preempt })).id;
  const decided = () =>
    decide(
      store.list({ states: ['queued'] }).filter(({ job }) => job.id !== running.id),
      [holder()],
      0,
    );
  submit(5, false);
  submit(1, true);
  expect(decided().yield).toEqual([]);
  submit(3, true);
  submit(4, true);
  expect(decided().yield).toEqual([{ id: 'j1', text: 'j5 (a) goes first: this job goes on after it.' }]);
  expect(decided().start).toEqual([]);
});

it('a window keeps a job from starting and from running on, and tells when to look again', () => {
  const store = openStore();
  store.createJob(newJob({ window: '22:00-07:00' }));
  store.createJob(newJob());
  const queued = store.list({ states: ['queued'] });
  const evening = decide(queued, [], at(21));
  // The older job waits for its hours and keeps nobody from the device.
  expect(evening.start.map(({ job }) => job.id)).toEqual(['j2']);
  expect(evening.waiting.get('j1')).toEqual({
    reason: 'window',
    job: null,
    until: at(22) / 1000,
    text: 'waits for 22:00',
  });
  expect(evening.again).toBe(at(22));
  const ten = decide(queued, [], at(22));
  expect(ten.start.map(({ job }) => job.id)).toEqual(['j1']);
  expect(ten.again).toBe(at(7, 0, 11));
  const holders = [{ id: 'j1', device: 'cpu', stored: store.job('j1') }];
  const night = decide([], holders, at(3));
  expect(night).toMatchObject({ yield: [], again: at(7) });
  expect(decide([], holders, at(7)).yield).toEqual([
    { id: 'j1', text: 'Its window 22:00-07:00 has ended: it goes on at 22:00.' },
  ]);
});

it('a delay after a fault is waited for', () => {
  const store = openStore();
  const { id } = store.createJob(newJob());
  store.setNotBefore(id, at(12, 30) / 1000);
  const early = decide([store.job(id)], [], at(12));
  expect(early.start).toEqual([]);
  expect(early.waiting.get(id)).toMatchObject({ reason: 'retry', text: 'tries again at 12:30' });
  expect(early.again).toBe(at(12, 30));
  expect(decide([store.job(id)], [], at(12, 30)).start).toHaveLength(1);
});

it('a job runs in its window only, checkpoints at its end and goes on in the next, with each step once', async () => {
  const home = homeLayout(temporaryFolder());
  const clock = new FakeClock(at(21));
  const store = new Store(home.database, () => {});
  const log = pino({ level: 'silent' });
  const inbox = new Inbox(store, log);
  const settings = readSettings({});
  const generations = new Generations({ home, store, inbox, settings, log });
  const supervisor = new Supervisor({ home, store, inbox, generations, settings, log, clock });
  atEnd(async () => {
    await supervisor.shutdown();
    generations.shutdown();
    store.close();
  });
  const { recipe, base_dir, source } = tinyRecipe(temporaryFolder(), { steps: 60, saveSteps: 1_000 });
  const { id } = store.createJob(
    newJob({ recipe: { text: recipe, base_dir, source, set: [] }, window: '22:00-07:00' }),
  );
  const steps = () =>
    store
      .events(id, 0, -1, ['progress'])
      .flatMap((event) =>
        event.kind === 'progress' && event.body.stage === 'pretrain' ? [event.body.done] : [],
      );
  supervisor.schedule();
  expect(store.job(id).job).toMatchObject({ state: 'queued', waiting: { text: 'waits for 22:00' } });
  clock.advanceTo(at(22));
  expect(store.job(id).job).toMatchObject({ state: 'running', waiting: null });
  await until(() => steps().length >= 5);
  clock.advanceTo(at(7, 0, 11));
  await until(() => store.job(id).job.state === 'queued');
  expect(store.job(id).job.waiting?.text).toBe('waits for 22:00');
  const done = steps().length;
  expect(done).toBeLessThan(60);
  await sleep(200);
  expect(steps()).toHaveLength(done);
  clock.advanceTo(at(22, 0, 11));
  await until(() => store.job(id).job.state === 'succeeded');
  expect(steps()).toEqual(Array.from({ length: 60 }, (_value, index) => index + 1));
  const said = store
    .events(id, 0, -1, ['queue', 'notice'])
    .map(({ body }) => (body as { text: string }).text);
  expect(said.filter((text) => / window |waits for/.test(text))).toEqual([
    'waits for 22:00',
    'Its window 22:00-07:00 has ended: it goes on at 22:00.',
    'waits for 22:00',
  ]);
  expect(store.job(id).job.attempts).toBe(2);
});
