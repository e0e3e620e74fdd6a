/** Recipes over URLs: accepted and planned without fetching anything, fetched by the job, which tells how far it is. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Site } from '../data/site.ts';
import { eventsUntil, isState, startDaemon, temporaryFolder, untilState } from './harness.ts';

const site = new Site();
beforeAll(() => site.start());
afterAll(() => site.stop());

it('a job is accepted before its data are there, and fetches them once', async () => {
  const folder = temporaryFolder();
  const lines = Array.from({ length: 500 }, (_, n) => `Fox ${n} jumps over ${(n * 7) % 31} dogs.\n`).join('');
  site.files.set('text.txt', Buffer.from(lines));
  let release = (): void => undefined;
  site.release = new Promise((resolve) => {
    release = resolve;
  });
  const daemon = await startDaemon({ env: { XDG_CACHE_HOME: join(folder, 'cache') } });
  const client = await daemon.client();
  const recipe = {
    recipe: `name: urls
stages:
  tokenizer: { files: ["${site.url('text.txt')}"], vocab_size: 300 }
  prepare: { files: ["${site.url('text.txt')}", more.txt], text_unit: line }
`,
    base_dir: folder,
    source: 'urls.yaml',
  };
  writeFileSync(join(folder, 'more.txt'), 'One more line.\n');
  const plan = await client.call('job.plan', recipe);
  expect(plan.stages.map(({ seconds, disk_bytes, detail }) => ({ seconds, disk_bytes, detail }))).toEqual(
    ['tokenizer', 'prepare'].map(() => ({
      seconds: null,
      disk_bytes: lines.length,
      detail: { urls_to_fetch: 1, to_fetch_bytes: lines.length },
    })),
  );
  const missing = { ...recipe, recipe: recipe.recipe.replaceAll('text.txt', 'none.txt') };
  await expect(client.call('job.submit', missing)).rejects.toMatchObject({ code: 'file_not_found' });
  const { job } = await client.call('job.submit', recipe);
  expect(site.sent.size).toBe(0);
  release();
  await untilState(client, job.id, 'succeeded');
  expect(site.sent.get('text.txt')).toBe(1);
  const events = await eventsUntil(client, job.id, isState('succeeded'));
  const [first] = events.filter(({ kind }) => kind === 'progress');
  expect(first!.body).toMatchObject({
    stage: 'tokenizer',
    unit: 'byte',
    total: null,
    metrics: { urls: 1, fetched: 0 },
  });
  // What it comes to is known now.
  expect((await client.call('job.plan', recipe)).stages.map(({ reused }) => reused)).toEqual([true, true]);
}, 120_000);

it('a job that waits for bytes is cancelled at once', async () => {
  const folder = temporaryFolder();
  site.files.set('endless.txt', Buffer.from('text\n'));
  site.release = new Promise(() => undefined);
  const daemon = await startDaemon({ env: { XDG_CACHE_HOME: join(folder, 'cache') } });
  const client = await daemon.client();
  const { job } = await client.call('job.submit', {
    recipe: `name: endless\nstages:\n  tokenizer: { files: ["${site.url('endless.txt')}"], vocab_size: 300 }\n`,
    base_dir: folder,
    source: 'endless.yaml',
  });
  const atOnce = site.mostAtOnce;
  await eventsUntil(client, job.id, ({ kind }) => kind === 'graph');
  await expect.poll(() => site.mostAtOnce, { timeout: 30_000 }).toBeGreaterThanOrEqual(Math.max(1, atOnce));
  await client.call('job.cancel', { job: job.id });
  await untilState(client, job.id, 'cancelled');
}, 120_000);
