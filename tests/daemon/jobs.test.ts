/** Jobs from their submission to their end: order, pause, resume, cancel, retries, generation. */
import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Dealer } from 'zeromq';
import { homeLayout } from '../../proto/home.ts';
import { decodeBody, encodeRequest } from '../../proto/wire.ts';
import {
  atEnd,
  eventsUntil,
  isState,
  startDaemon,
  temporaryFolder,
  tinyRecipe,
  untilState,
} from './harness.ts';

describe('a job', () => {
  it('runs to its end, with events numbered without gaps', async () => {
    const client = await (await startDaemon()).client();
    const { job } = await client.call('job.submit', tinyRecipe(temporaryFolder(), { steps: 12 }));
    expect(job).toMatchObject({ name: 'tiny', kind: 'recipe', device: 'cpu' });
    const events = await eventsUntil(client, job.id, isState('succeeded'));
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_event, index) => index + 1));
    const states = events.flatMap((event) => (event.kind === 'state' ? [event.body.state] : []));
    expect(states).toEqual(['queued', 'running', 'succeeded']);
    const steps = events.flatMap((event) =>
      event.kind === 'progress' && event.body.stage === 'pretrain' ? [event.body.done] : [],
    );
    expect(steps).toEqual(Array.from({ length: 12 }, (_value, index) => index + 1));
    expect((await client.call('job.get', { job: 'tiny' })).job).toMatchObject({
      id: job.id,
      state: 'succeeded',
      attempts: 1,
      stage: 'pretrain',
      last_seq: events.length,
      error: null,
    });
    const part = await client.call('job.events', {
      job: job.id,
      since: 2,
      limit: 3,
      kinds: ['progress', 'state'],
    });
    expect(part.events.every(({ seq, kind }) => seq > 2 && ['progress', 'state'].includes(kind))).toBe(true);
    expect(part).toMatchObject({ last_seq: events.length, events: { length: 3 } });
  });

  it('whose recipe is wrong is not made', async () => {
    const client = await (await startDaemon()).client();
    const wrong = { recipe: 'seed: 3\n', base_dir: '/' };
    await expect(client.call('job.submit', wrong)).rejects.toMatchObject({
      code: 'recipe_invalid',
      path: 'stages',
    });
    expect((await client.call('job.list', {})).jobs).toEqual([]);
  });

  it('waits for its device; the rest goes by priority, then age', async () => {
    const client = await (await startDaemon()).client();
    const folder = temporaryFolder();
    const submit = async (name: string, priority: number) =>
      (
        await client.call('job.submit', {
          ...tinyRecipe(folder, { name, steps: name === 'first' ? 400 : 2 }),
          priority,
        })
      ).job;
    const first = await submit('first', 0);
    await untilState(client, first.id, 'running');
    const jobs = [
      await submit('low', -1),
      await submit('old', 0),
      await submit('new', 0),
      await submit('high', 5),
    ];
    expect(jobs.map(({ state }) => state)).toEqual(['queued', 'queued', 'queued', 'queued']);
    await client.call('job.cancel', { job: first.id });
    for (const { id } of jobs) await untilState(client, id, 'succeeded');
    const done = await Promise.all(
      jobs.map(async ({ id }) => (await client.call('job.get', { job: id })).job),
    );
    const order = done.toSorted((a, b) => a.started_at! - b.started_at!).map(({ name }) => name);
    expect(order).toEqual(['high', 'old', 'new', 'low']);
    for (const { name, started_at } of done) {
      const earlier = done.filter((other) => order.indexOf(other.name) < order.indexOf(name));
      for (const other of earlier) expect(other.finished_at).toBeLessThanOrEqual(started_at!);
    }
  });

  it('of several with one name is the newest', async () => {
    const client = await (await startDaemon()).client();
    const recipe = tinyRecipe(temporaryFolder(), { steps: 2 });
    await client.call('job.submit', recipe);
    const { job } = await client.call('job.submit', recipe);
    expect((await client.call('job.get', { job: 'tiny' })).job.id).toBe(job.id);
    expect((await client.call('job.list', {})).jobs.map(({ id }) => id)).toEqual(['j2', 'j1']);
    expect((await client.call('job.list', { limit: 1 })).jobs).toHaveLength(1);
  });
});

describe('pause, resume, cancel', () => {
  it('pause a running job at a checkpoint, from which it goes on without repeating an event', async () => {
    const client = await (await startDaemon()).client();
    const { job } = await client.call(
      'job.submit',
      tinyRecipe(temporaryFolder(), { steps: 60, saveSteps: 1000 }),
    );
    await eventsUntil(
      client,
      job.id,
      (event) => event.kind === 'progress' && event.body.stage === 'pretrain',
    );
    expect((await client.call('job.pause', { job: job.id })).job.id).toBe(job.id);
    const paused = await untilState(client, job.id, 'paused');
    expect((await client.call('status', {})).devices).toEqual([
      { device: 'cpu', job: null, memory_bytes: null },
    ]);
    await client.call('job.pause', { job: job.id });
    await client.call('job.resume', { job: job.id });
    const events = await eventsUntil(client, job.id, isState('succeeded'));
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_event, index) => index + 1));
    const steps = events.flatMap((event) =>
      event.kind === 'progress' && event.body.stage === 'pretrain' ? [event.body.done] : [],
    );
    expect(steps).toEqual(Array.from({ length: 60 }, (_value, index) => index + 1));
    expect(events.at(-1)!.seq).toBeGreaterThan(paused.last_seq);
    expect((await client.call('job.get', { job: job.id })).job.attempts).toBe(2);
    await expect(client.call('job.resume', { job: job.id })).rejects.toMatchObject({ code: 'job_state' });
    await expect(client.call('job.pause', { job: job.id })).rejects.toMatchObject({ code: 'job_state' });
    await expect(client.call('job.cancel', { job: job.id })).rejects.toMatchObject({ code: 'job_state' });
  });

  it('act on jobs that wait, too; a cancelled job can be taken up again', async () => {
    const client = await (await startDaemon()).client();
    const folder = temporaryFolder();
    const { job: running } = await client.call('job.submit', tinyRecipe(folder, { name: 'a', steps: 400 }));
    const { job: waiting } = await client.call('job.submit', tinyRecipe(folder, { name: 'b', steps: 2 }));
    expect((await client.call('job.pause', { job: waiting.id })).job.state).toBe('paused');
    expect((await client.call('job.resume', { job: waiting.id })).job.state).toBe('queued');
    expect((await client.call('job.cancel', { job: waiting.id })).job.state).toBe('cancelled');
    await eventsUntil(client, running.id, (event) => event.kind === 'stage');
    await client.call('job.cancel', { job: running.id });
    await untilState(client, running.id, 'cancelled');
    await client.call('job.resume', { job: waiting.id });
    await untilState(client, waiting.id, 'succeeded');
  });
});

it('a request that is sent again, at once or later, is done once', async () => {
  const daemon = await startDaemon();
  const client = await daemon.client();
  const socket = new Dealer({ linger: 0, receiveTimeout: 60_000 });
  atEnd(() => socket.close());
  socket.connect(`ipc://${homeLayout(daemon.home).commandSocket}`);
  const body = { command: 'job.submit', ...tinyRecipe(temporaryFolder(), { steps: 2 }) };
  const frames = encodeRequest(randomUUID(), body);
  for (let i = 0; i < 3; i++) await socket.send(frames);
  const replies: Record<string, unknown>[] = [];
  for (let i = 0; i < 3; i++) replies.push(decodeBody((await socket.receive())[2]!));
  for (const reply of replies) expect(reply).toMatchObject({ ok: true, job: { id: 'j1' } });
  await untilState(client, 'j1', 'succeeded');
  await socket.send(frames);
  expect(decodeBody((await socket.receive())[2]!)).toMatchObject({
    ok: true,
    job: { id: 'j1', state: 'succeeded' },
  });
  // The same id for something else is a fault of the client.
  await socket.send(encodeRequest(frames[1]!.toString(), { ...body, priority: 3 }));
  expect(decodeBody((await socket.receive())[2]!)).toMatchObject({
    ok: false,
    error: { code: 'bad_request' },
  });
  // Also after the daemon was killed.
  await daemon.kill('SIGKILL');
  await startDaemon({ home: daemon.home });
  await socket.send(frames);
  expect(decodeBody((await socket.receive())[2]!)).toMatchObject({ ok: true, job: { id: 'j1' } });
  expect((await client.call('job.list', {})).jobs).toHaveLength(1);
});
