/** The queue of a real daemon: preemption, faults by the recipe's `retry`, windows; all of it over restarts. */
import { expect, it } from 'vitest';
import type { JobEvent } from '../../proto/events.ts';
import type { Client } from '../../src/client/client.ts';
import {
  eventsUntil,
  isState,
  startDaemon,
  temporaryFolder,
  tinyRecipe,
  untilState,
  workerPid,
} from './harness.ts';

/** So many that a job that is asked to stop at step 5 has not ended before it hears of it. */
const STEPS = 240;
const onStep = (step: number) => (event: JobEvent) =>
  event.kind === 'progress' && event.body.stage === 'pretrain' && event.body.done >= step;

async function submit(
  client: Client,
  name: string,
  options: { steps?: number; priority?: number; preempt?: boolean; window?: string; add?: string } = {},
): Promise<string> {
  const { steps = STEPS, add = '', ...rest } = options;
  const { recipe, ...source } = tinyRecipe(temporaryFolder(), { name, steps, saveSteps: 1_000 });
  return (await client.call('job.submit', { ...source, recipe: recipe + add, ...rest })).job.id;
}

function expectEachStepOnce(events: JobEvent[]): void {
  const steps = events.flatMap((event) =>
    event.kind === 'progress' && event.body.stage === 'pretrain' ? [event.body.done] : [],
  );
  expect(steps).toEqual(Array.from({ length: STEPS }, (_value, index) => index + 1));
}

/** What is said of the queue; a stage's words about its data are another matter. */
const texts = (events: JobEvent[]) =>
  events.flatMap((event) =>
    event.kind === 'queue' || (event.kind === 'notice' && event.body.stage === null) ? [event.body.text] : [],
  );

it('a job that preempts goes first; the other goes on afterwards, from its checkpoint', async () => {
  const client = await (await startDaemon()).client();
  const low = await submit(client, 'low');
  await eventsUntil(client, low, onStep(5));
  const patient = await submit(client, 'patient', { steps: 2, priority: 1 });
  expect((await client.call('job.get', { job: patient })).job.waiting?.text).toBe(`waits for ${low}`);
  const high = await submit(client, 'high', { steps: 2, priority: 2, preempt: true });
  const done = await eventsUntil(client, high, isState('succeeded'));
  expect(texts(done)).toContain(`waits for ${low}`);
  const events = await eventsUntil(client, low, isState('succeeded'));
  expectEachStepOnce(events);
  expect(texts(events)).toEqual([
    `${high} (high) goes first: this job goes on after it.`,
    `waits for ${high}`,
    `waits for ${patient}`,
  ]);
  const job = async (id: string) => (await client.call('job.get', { job: id })).job;
  expect((await job(high)).finished_at).toBeLessThanOrEqual((await job(patient)).started_at!);
  expect((await job(patient)).finished_at).toBeLessThanOrEqual((await job(low)).finished_at!);
  expect((await job(low)).attempts).toBe(2);
});

it('a stage whose workers die too often has failed; the others run, and a resume tries it again', async () => {
  const daemon = await startDaemon();
  const client = await daemon.client();
  const other = '  other: { type: tokenizer, files: [text.txt], vocab_size: 290, after: [prepare] }\n';
  const needs = '  needs: { type: tokenizer, files: [text.txt], vocab_size: 280, after: [pretrain] }\n';
  const id = await submit(client, 'fragile', { add: `${other}${needs}retry: { limit: 0 }\n` });
  await eventsUntil(client, id, onStep(5));
  process.kill(workerPid(daemon, id), 'SIGKILL');
  const { error } = await untilState(client, id, 'failed');
  expect(error).toMatchObject({
    code: 'worker_died',
    message: expect.stringMatching(/SIGKILL[\s\S]*needs was not run: it needs pretrain\./),
  });
  const { events } = await client.call('job.events', { job: id, kinds: ['stage'] });
  const phases = events.map(({ body }) => `${body.stage} ${body.phase}`);
  expect(phases.slice(-5)).toEqual([
    'pretrain started',
    'pretrain failed',
    'other started',
    'other finished',
    'needs skipped',
  ]);
  await client.call('job.resume', { job: id });
  await untilState(client, id, 'succeeded');
});

it('a fault is waited out by the delay of the recipe', async () => {
  const daemon = await startDaemon();
  const client = await daemon.client();
  const id = await submit(client, 'delayed', { add: 'retry: { limit: 1, delay_seconds: 1 }\n' });
  await eventsUntil(client, id, onStep(5));
  process.kill(workerPid(daemon, id), 'SIGKILL');
  const events = await eventsUntil(client, id, isState('succeeded'));
  const waits = events.filter((event) => event.kind === 'queue');
  expect(waits).toMatchObject([
    { body: { reason: 'retry', job: null, text: expect.stringMatching(/^tries again at /) } },
  ]);
  const again = events.findLast((event) => event.kind === 'state' && event.body.state === 'running')!;
  expect(again.time).toBeGreaterThanOrEqual(waits[0]!.body.until!);
});

it('a job outside of its hours waits for them, also after a restart; another may run meanwhile', async () => {
  const daemon = await startDaemon();
  const client = await daemon.client();
  const hour = (new Date().getHours() + 12) % 24;
  const window = `${hour}:00-${hour}:30`;
  const id = await submit(client, 'nightly', { window });
  const waiting = { reason: 'window', text: `waits for ${String(hour).padStart(2, '0')}:00` };
  expect((await client.call('job.get', { job: id })).job).toMatchObject({ state: 'queued', window, waiting });
  await untilState(client, await submit(client, 'day', { steps: 2 }), 'succeeded');
  await daemon.kill('SIGKILL');
  const again = await (await startDaemon({ home: daemon.home })).client();
  expect((await again.call('job.get', { job: id })).job).toMatchObject({ state: 'queued', waiting });
  expect((await again.call('status', {})).queue).toEqual([{ job: id, name: 'nightly', text: waiting.text }]);
  const wrong = submit(again, 'wrong', { window: '7-9' });
  await expect(wrong).rejects.toMatchObject({ code: 'bad_request', path: 'window' });
});
