/** Generation through the daemon: from the weights of a running job, and from a model that jobs have made. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Client } from '../../src/client/client.ts';
import { anneal } from '../cli/process.ts';
import {
  eventsUntil,
  isState,
  startDaemon,
  type TestDaemon,
  temporaryFolder,
  tinyRecipe,
  until,
  untilState,
  workerPid,
} from './harness.ts';

const sampling = { max_new_tokens: 5, temperature: 0 };

/** A daemon with a job that trains and does not end by itself. */
async function startTraining(): Promise<{ daemon: TestDaemon; client: Client; job: string }> {
  const daemon = await startDaemon();
  const client = await daemon.client();
  const { job } = await client.call('job.submit', tinyRecipe(temporaryFolder(), { steps: 100_000 }));
  await eventsUntil(client, job.id, (event) => event.kind === 'progress' && event.body.stage === 'pretrain');
  return { daemon, client, job: job.id };
}

it('goes to the worker of a running job, which trains on', async () => {
  const { client, job } = await startTraining();
  const reply = await client.call('model.generate', { model: `job:${job}`, prompt: 'The quick', sampling });
  expect(reply.job).toMatchObject({ kind: 'generate', state: 'running' });
  const events = await eventsUntil(client, reply.job.id, isState('succeeded'));
  const text = events.flatMap((event) => (event.kind === 'token' ? [event.body.text] : [])).join('');
  const completion = events.find((event) => event.kind === 'completion')!.body;
  expect(completion).toMatchObject({ text, completion_tokens: 5, finish: 'length' });
  const { last_seq } = (await client.call('job.get', { job })).job;
  await until(async () => (await client.call('job.get', { job })).job.last_seq > last_seq);
  // Generations are jobs, but not what `jobs` is asked for.
  expect((await client.call('job.list', {})).jobs.map(({ id }) => id)).toEqual([job]);
  expect((await client.call('job.list', { kinds: ['generate'] })).jobs).toHaveLength(1);
  await client.call('job.cancel', { job });
  await untilState(client, job, 'cancelled');
  const kwargs = { model: `job:${job}`, prompt: 'x', chat_template_kwargs: { enable_thinking: false } };
  await expect(client.call('model.generate', kwargs)).rejects.toMatchObject({
    code: 'bad_request',
    path: 'chat_template_kwargs',
  });
  const late = client.call('model.generate', { model: `job:${job}`, prompt: 'x' });
  await expect(late).rejects.toMatchObject({ code: 'job_state' });
});

it('goes to a worker that serves a model, stays loaded, and ends when nobody asks', async () => {
  const daemon = await startDaemon({ env: { ANNEAL_SERVE_IDLE_SECONDS: '2' } });
  const client = await daemon.client();
  const { job } = await client.call('job.submit', tinyRecipe(temporaryFolder(), { steps: 5 }));
  await untilState(client, job.id, 'succeeded');
  const [model] = (await client.call('model.list', {})).models;
  expect(model).toMatchObject({ name: 'tiny/pretrain', stage_type: 'pretrain' });
  const ask = async () => {
    const reply = await client.call('model.generate', { model: model!.name, prompt: 'The quick', sampling });
    const events = await eventsUntil(client, reply.job.id, isState('succeeded'));
    return (events.find((event) => event.kind === 'completion')!.body as { text: string }).text;
  };
  expect(await ask()).toBe(await ask());
  const starts = () => daemon.log().split('worker started to serve').length - 1;
  expect(starts()).toBe(1);
  await until(() => daemon.log().includes('worker that served a model ended'));
  await ask();
  expect(starts()).toBe(2);
});

it('goes to one worker for a base and the adapters over it, at the same time', async () => {
  const daemon = await startDaemon();
  const client = await daemon.client();
  const adapter = (name: string, seed: number) => `  ${name}:
    type: pretrain
    base: pretrain
    dataset: prepare
    too_long: split
    per_device_train_batch_size: 16
    max_steps: 5
    learning_rate: ${seed}e-2
    lora: { r: 4, target_modules: all-linear }
`;
  const tiny = tinyRecipe(temporaryFolder(), { steps: 5 });
  const recipe = `${tiny.recipe}${adapter('first', 1)}${adapter('second', 3)}`;
  const { job } = await client.call('job.submit', { ...tiny, recipe });
  await untilState(client, job.id, 'succeeded');
  const long = { max_new_tokens: 100, temperature: 1 };
  const ask = (model: string) =>
    client.call('model.generate', { model, prompt: 'The quick', sampling: long });
  const models = ['tiny/first', 'tiny/pretrain', 'tiny/second'];
  const answer = async (id: string) => {
    const events = await eventsUntil(client, id, isState('succeeded'));
    return (events.find((event) => event.kind === 'completion')!.body as { text: string }).text;
  };
  const replies = await Promise.all(models.map(ask));
  const together = await Promise.all(replies.map((reply) => answer(reply.job.id)));
  expect(daemon.log().split('worker started to serve').length - 1).toBe(1);
  expect(new Set(together).size).toBe(3);
  for (const [i, model] of models.entries())
    expect(await answer((await ask(model)).job.id)).toBe(together[i]);

  // The same adapter, merged, answers the same from a folder of its own.
  const out = join(temporaryFolder(), 'merged');
  const merge = (to: string) => anneal(['merge', 'tiny/first', '--out', to], { home: daemon.home });
  expect(await merge(out)).toMatchObject({ status: 0, stdout: expect.stringContaining('top1_agreement') });
  expect(readdirSync(join(out, '..'))).toEqual(['merged']);
  expect(await answer((await ask(out)).job.id)).toBe(together[0]);
  for (const [to, message] of [
    [out, /is not empty/],
    [join(out, 'config.json'), /config\.json/],
  ] as const)
    expect(await merge(to)).toMatchObject({ status: 4, stderr: expect.stringMatching(message) });
});

it('can be cancelled', async () => {
  const { daemon, client, job } = await startTraining();
  const pid = workerPid(daemon, job);
  // The worker must not be through before it is told.
  process.kill(pid, 'SIGSTOP');
  const reply = await client.call('model.generate', { model: `job:${job}`, prompt: 'The', sampling });
  expect((await client.call('job.cancel', { job: reply.job.id })).job.state).toBe('running');
  process.kill(pid, 'SIGCONT');
  await untilState(client, reply.job.id, 'cancelled');
  expect((await client.call('job.get', { job })).job.state).toBe('running');
});

it('ends with an error when its worker is killed, or its daemon', async () => {
  const { daemon, client, job } = await startTraining();
  const ask = async () =>
    (await client.call('model.generate', { model: `job:${job}`, prompt: 'The', sampling })).job.id;
  const first = workerPid(daemon, job);
  process.kill(first, 'SIGSTOP');
  const lost = await ask();
  process.kill(first, 'SIGKILL');
  expect((await untilState(client, lost, 'failed')).error).toMatchObject({ code: 'job_state' });
  await until(() => workerPid(daemon, job) !== first);
  const second = workerPid(daemon, job);
  process.kill(second, 'SIGSTOP');
  const orphaned = await ask();
  await daemon.kill('SIGKILL');
  process.kill(second, 'SIGCONT');
  await startDaemon({ home: daemon.home });
  expect((await untilState(client, orphaned, 'failed')).error).toMatchObject({ code: 'shutting_down' });
});
