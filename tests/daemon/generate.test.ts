/** Generation through the daemon: from the weights of a running job, and from a model that jobs have made. */
import { describe, expect, it } from 'vitest';
import {
  eventsUntil,
  isState,
  startDaemon,
  temporaryFolder,
  tinyRecipe,
  until,
  untilState,
} from './harness.ts';

const sampling = { max_new_tokens: 5, temperature: 0 };

describe('generation', () => {
  it('goes to the worker of a running job, which trains on', async () => {
    const daemon = await startDaemon();
    const client = await daemon.client();
    const { job } = await client.call('job.submit', tinyRecipe(temporaryFolder(), { steps: 100_000 }));
    await eventsUntil(
      client,
      job.id,
      (event) => event.kind === 'progress' && event.body.stage === 'pretrain',
    );
    const reply = await client.call('model.generate', {
      model: `job:${job.id}`,
      prompt: 'The quick',
      sampling,
    });
    expect(reply.job).toMatchObject({ kind: 'generate', state: 'running' });
    const events = await eventsUntil(client, reply.job.id, isState('succeeded'));
    const text = events.flatMap((event) => (event.kind === 'token' ? [event.body.text] : [])).join('');
    const completion = events.find((event) => event.kind === 'completion')!.body;
    expect(completion).toMatchObject({ text, completion_tokens: 5, finish: 'length' });
    const { last_seq } = (await client.call('job.get', { job: job.id })).job;
    await until(async () => (await client.call('job.get', { job: job.id })).job.last_seq > last_seq);
    // Generations are jobs, but not what `jobs` is asked for.
    expect((await client.call('job.list', {})).jobs.map(({ id }) => id)).toEqual([job.id]);
    expect((await client.call('job.list', { kinds: ['generate'] })).jobs).toHaveLength(1);
    await client.call('job.cancel', { job: job.id });
    await untilState(client, job.id, 'cancelled');
    await expect(
      client.call('model.generate', { model: `job:${job.id}`, prompt: 'x' }),
    ).rejects.toMatchObject({
      code: 'job_state',
    });
  });

  it('goes to a worker that serves a model, stays loaded, and ends when nobody asks', async () => {
    const daemon = await startDaemon({ env: { ANNEAL_SERVE_IDLE_SECONDS: '2' } });
    const client = await daemon.client();
    const { job } = await client.call('job.submit', tinyRecipe(temporaryFolder(), { steps: 5 }));
    await untilState(client, job.id, 'succeeded');
    const [model] = (await client.call('model.list', {})).models;
    expect(model).toMatchObject({ name: 'tiny/pretrain', stage_type: 'pretrain' });
    const ask = async () => {
      const reply = await client.call('model.generate', {
        model: model!.name,
        prompt: 'The quick',
        sampling,
      });
      const events = await eventsUntil(client, reply.job.id, isState('succeeded'));
      return events.find((event) => event.kind === 'completion')!.body;
    };
    const [first, second] = [await ask(), await ask()];
    expect(second).toMatchObject({ text: (first as { text: string }).text });
    const starts = () => daemon.log().split('worker started to serve').length - 1;
    expect(starts()).toBe(1);
    await until(() => daemon.log().includes('worker that served a model ended'));
    await ask();
    expect(starts()).toBe(2);
  });

  it('can be cancelled', async () => {
    const daemon = await startDaemon();
    const client = await daemon.client();
    const { job } = await client.call('job.submit', tinyRecipe(temporaryFolder(), { steps: 100_000 }));
    await eventsUntil(
      client,
      job.id,
      (event) => event.kind === 'progress' && event.body.stage === 'pretrain',
    );
    const long = { max_new_tokens: 100_000, temperature: 1 };
    const reply = await client.call('model.generate', {
      model: `job:${job.id}`,
      prompt: 'The',
      sampling: long,
    });
    await eventsUntil(client, reply.job.id, (event) => event.kind === 'token');
    await client.call('job.cancel', { job: reply.job.id });
    await untilState(client, reply.job.id, 'cancelled');
    expect((await client.call('job.get', { job: job.id })).job.state).toBe('running');
  });

  it('ends with an error when its worker does, or its daemon', async () => {
    const daemon = await startDaemon();
    const client = await daemon.client();
    const { job } = await client.call('job.submit', tinyRecipe(temporaryFolder(), { steps: 100_000 }));
    await eventsUntil(
      client,
      job.id,
      (event) => event.kind === 'progress' && event.body.stage === 'pretrain',
    );
    const long = { max_new_tokens: 100_000, temperature: 1 };
    const ask = async () => {
      const reply = await client.call('model.generate', {
        model: `job:${job.id}`,
        prompt: 'The',
        sampling: long,
      });
      await eventsUntil(client, reply.job.id, (event) => event.kind === 'token');
      return reply.job.id;
    };
    const first = await ask();
    await client.call('job.pause', { job: job.id });
    expect((await untilState(client, first, 'failed')).error).toMatchObject({ code: 'job_state' });
    await untilState(client, job.id, 'paused');
    await client.call('job.resume', { job: job.id });
    await eventsUntil(
      client,
      job.id,
      isState('running'),
      (await client.call('job.get', { job: job.id })).job.last_seq - 1,
    );
    const second = await ask();
    await daemon.kill('SIGKILL');
    await startDaemon({ home: daemon.home });
    expect((await untilState(client, second, 'failed')).error).toMatchObject({ code: 'shutting_down' });
  });
});
