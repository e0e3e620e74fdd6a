/** kill -9 of worker, daemon and subscriber: a job goes on by itself, and its events come exactly once. */
import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { JobEvent } from '../../proto/events.ts';
import type { Client } from '../../src/client/client.ts';
import {
  atEnd,
  eventsUntil,
  isState,
  isWorker,
  startDaemon,
  type TestDaemon,
  temporaryFolder,
  tinyRecipe,
  until,
  untilState,
  workerPid,
} from './harness.ts';

const STEPS = 70;

function trainedSteps(events: JobEvent[]): number[] {
  return events.flatMap((event) =>
    event.kind === 'progress' && event.body.stage === 'pretrain' ? [event.body.done] : [],
  );
}

/** Each step once and in order, and sequence numbers without gaps. */
function expectExactlyOnce(events: JobEvent[]): void {
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_event, index) => index + 1));
  expect(trainedSteps(events)).toEqual(Array.from({ length: STEPS }, (_value, index) => index + 1));
}

async function submit(client: Client, saveSteps = 10): Promise<string> {
  return (await client.call('job.submit', tinyRecipe(temporaryFolder(), { steps: STEPS, saveSteps }))).job.id;
}

async function untilStep(client: Client, job: string, step: number): Promise<void> {
  await eventsUntil(
    client,
    job,
    (event) => event.kind === 'progress' && event.body.stage === 'pretrain' && event.body.done >= step,
  );
}

describe('a worker that is killed', () => {
  it('is replaced, and no event is lost or repeated', async () => {
    const daemon = await startDaemon();
    const client = await daemon.client();
    const job = await submit(client);
    for (const step of [15, 37, 62]) {
      await untilStep(client, job, step);
      process.kill(workerPid(daemon, job), 'SIGKILL');
    }
    const events = await eventsUntil(client, job, isState('succeeded'));
    expectExactlyOnce(events);
    const { attempts } = (await client.call('job.get', { job })).job;
    expect(attempts).toBe(4);
    const notices = events.filter((event) => event.kind === 'notice' && event.body.text.includes('SIGKILL'));
    expect(notices).toHaveLength(3);
  });

  it('again and again without getting any further ends its job', async () => {
    const daemon = await startDaemon();
    const client = await daemon.client();
    const job = await submit(client);
    const killed = new Set<number>();
    await until(async () => {
      const { state } = (await client.call('job.get', { job })).job;
      // Before it can have done anything.
      const pid = state === 'running' ? workerPid(daemon, job) : undefined;
      if (pid !== undefined && !killed.has(pid) && isWorker(pid)) {
        process.kill(pid, 'SIGKILL');
        killed.add(pid);
      }
      return state === 'failed';
    });
    const { error, attempts } = await untilState(client, job, 'failed');
    expect(error).toMatchObject({
      code: 'worker_died',
      message: expect.stringContaining('SIGKILL'),
      hint: expect.any(String),
    });
    expect(attempts).toBe(3);
    // By hand it can be tried again.
    await client.call('job.resume', { job });
    expectExactlyOnce(await eventsUntil(client, job, isState('succeeded')));
  });
});

it('a worker that hangs is killed and replaced', async () => {
  const daemon = await startDaemon({ env: { ANNEAL_HANG_SECONDS: '4' } });
  const client = await daemon.client();
  const job = await submit(client);
  await untilStep(client, job, 15);
  process.kill(workerPid(daemon, job), 'SIGSTOP');
  const events = await eventsUntil(client, job, isState('succeeded'));
  expectExactlyOnce(events);
  expect(events.some((event) => event.kind === 'notice' && event.body.text.includes('hung'))).toBe(true);
});

it('a daemon that is stopped for a while does not take its workers for hung', async () => {
  const daemon = await startDaemon({ env: { ANNEAL_HANG_SECONDS: '3' } });
  const client = await daemon.client();
  const job = await submit(client);
  await untilStep(client, job, 5);
  daemon.child.kill('SIGSTOP');
  await sleep(4_500);
  daemon.child.kill('SIGCONT');
  expectExactlyOnce(await eventsUntil(client, job, isState('succeeded')));
  expect((await client.call('job.get', { job })).job.attempts).toBe(1);
});

describe('a daemon', () => {
  it('that is killed is waited for by its followers; the worker checkpoints and ends, the job goes on', async () => {
    const home = temporaryFolder();
    let daemon = await startDaemon({ home });
    const client = await daemon.client();
    // No checkpoint but the one that the worker writes when it finds itself alone.
    const job = await submit(client, 1_000);
    const following = eventsUntil(client, job, isState('succeeded'));
    for (const step of [10, 30, 50]) {
      await untilStep(client, job, step);
      const pid = workerPid(daemon, job);
      await daemon.kill('SIGKILL');
      // Once with time for the worker to end, else in a hurry: the new daemon waits for it.
      if (step === 30) await until(() => !isWorker(pid));
      daemon = await startDaemon({ home });
    }
    const events = await following;
    expectExactlyOnce(events);
    const { state, attempts } = (await client.call('job.get', { job })).job;
    expect({ state, attempts }).toEqual({ state: 'succeeded', attempts: 4 });
  });

  it('that is killed with its worker loses nothing that a checkpoint holds', async () => {
    const home = temporaryFolder();
    let daemon = await startDaemon({ home });
    const client = await daemon.client();
    const job = await submit(client, 3);
    const following = eventsUntil(client, job, isState('succeeded'));
    for (const step of [10, 40]) {
      await untilStep(client, job, step);
      process.kill(workerPid(daemon, job), 'SIGKILL');
      await daemon.kill('SIGKILL');
      daemon = await startDaemon({ home });
    }
    expectExactlyOnce(await following);
  });

  it('that is told to go down checkpoints; the job goes on at the next start', async () => {
    const daemon = await startDaemon();
    const client = await daemon.client();
    const job = await submit(client, 1_000);
    await untilStep(client, job, 20);
    const pid = workerPid(daemon, job);
    expect(await daemon.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(isWorker(pid)).toBe(false);
    const next: TestDaemon = await startDaemon({ home: daemon.home });
    const again = await next.client();
    const events = await eventsUntil(again, job, isState('succeeded'));
    expectExactlyOnce(events);
    expect((await again.call('job.get', { job })).job.attempts).toBe(2);
  });

  it('that is killed while a job is being paused or cancelled does that at its next start', async () => {
    const daemon = await startDaemon();
    const client = await daemon.client();
    const job = await submit(client);
    await untilStep(client, job, 5);
    // The worker cannot answer before the daemon has gone.
    const pid = workerPid(daemon, job);
    process.kill(pid, 'SIGSTOP');
    await client.call('job.pause', { job });
    await daemon.kill('SIGKILL');
    process.kill(pid, 'SIGCONT');
    const next = await startDaemon({ home: daemon.home });
    await untilState(await next.client(), job, 'paused');
  });
});

it('a call outlasts a daemon that is killed and started again', async () => {
  const daemon = await startDaemon();
  const client = await daemon.client();
  // It has the request, and will never answer.
  daemon.child.kill('SIGSTOP');
  const list = client.call('job.list', {});
  await sleep(200);
  await daemon.kill('SIGKILL');
  await startDaemon({ home: daemon.home });
  expect(await list).toEqual({ jobs: [] });
});

it('a call to a daemon that stays away ends', async () => {
  const daemon = await startDaemon();
  const client = await daemon.client();
  daemon.child.kill('SIGSTOP');
  await expect(client.call('status', {}, { timeoutMs: 1_500 })).rejects.toMatchObject({ code: 'no_reply' });
  await daemon.kill('SIGKILL');
  await expect(client.call('status', {})).rejects.toMatchObject({ code: 'daemon_not_running' });
});

it('subscribers that are killed, or do not read, hold nothing up', async () => {
  const daemon = await startDaemon();
  const client = await daemon.client();
  const job = await submit(client);
  const follower = join(import.meta.dirname, 'follower.ts');
  const start = () =>
    spawn(process.execPath, [follower, daemon.home, job, '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const killed = start();
  const stopped = start();
  atEnd(() => [killed, stopped].map((child) => child.kill('SIGKILL')));
  await Promise.all(
    [killed, stopped].map((child) => new Promise((resolve) => child.stdout.once('data', resolve))),
  );
  killed.kill('SIGKILL');
  stopped.kill('SIGSTOP');
  expectExactlyOnce(await eventsUntil(client, job, isState('succeeded')));
  // The one that slept catches up; one that starts from where the killed one was gets the rest.
  let text = '';
  stopped.stdout.on('data', (data) => (text += data));
  stopped.kill('SIGCONT');
  const last = (await client.call('job.get', { job })).job.last_seq;
  await until(() => text.trim().split('\n').at(-1) === String(last));
  const { stdout } = await promisify(execFile)(process.execPath, [
    follower,
    daemon.home,
    job,
    '50',
    String(last),
  ]);
  expect(stdout.trim().split('\n').map(Number)).toEqual(
    Array.from({ length: last - 50 }, (_value, index) => index + 51),
  );
});
