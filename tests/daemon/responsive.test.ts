/** The daemon answers while a job uses every core, and a client starts light; bench/status.ts has the times. */
import { execFile } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { startDaemon, temporaryFolder, tinyRecipe, untilState } from './harness.ts';

it('answers every status call while a job uses every core', async () => {
  const client = await (await startDaemon()).client();
  const recipe = tinyRecipe(temporaryFolder(), { steps: 100_000, saveSteps: 20, threads: cpus().length });
  const { job } = await client.call('job.submit', recipe);
  await untilState(client, job.id, 'running');
  for (let i = 0; i < 200; i++) {
    const { jobs } = await client.call('status', {});
    expect(jobs).toMatchObject({ running: 1 });
  }
  expect((await client.call('job.get', { job: job.id })).job.state).toBe('running');
  await client.call('job.cancel', { job: job.id });
});

it('a client loads none of the schemas', async () => {
  const main = join(import.meta.dirname, '../../src/client/client.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--input-type=module',
    '-e',
    `
    import { registerHooks } from 'node:module';
    registerHooks({ load(url, context, next) { console.log(url); return next(url, context); } });
    await import(${JSON.stringify(main)});`,
  ]);
  expect(stdout).toContain('client.ts');
  expect(stdout).not.toMatch(/zod|pino|proto\/(commands|events)/);
});
