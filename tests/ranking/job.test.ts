/** A whole job through the real daemon: responses, a worker killed while it draws, labels by people, resume, pairs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { anneal } from '../cli/process.ts';
import { atEnd, eventsUntil, startDaemon, untilState, workerPid } from '../daemon/harness.ts';
import { makeFixture, recipeText } from '../training/fixture.ts';

const recipe = (name: string) =>
  `${recipeText({
    pretrain: ['max_steps: 20'],
    sft: ['max_steps: 40', 'learning_rate: 5e-3', 'per_device_train_batch_size: 4'],
  }).replace('name: tiny', `name: ${name}`)}  generate:
    models: { base: pretrain, assistant: sft }
    prompting: { base: chat }
    dataset: questions.jsonl
    num_generations: 2
    max_new_tokens: 8
    batch_size: 2
  rank:
    dataset: generate
    labels: people
    criteria: [fun]
    min_share: 0.5
`;

it('ends without labels, says how to give them, and goes on to pairs when they are there', async () => {
  const fixture = makeFixture();
  atEnd(() => fixture.remove());
  const daemon = await startDaemon();
  const client = await daemon.client();
  const source = { base_dir: fixture.dir, source: 'recipe.yaml' };
  const { job } = await client.call('job.submit', { ...source, recipe: recipe('asked') });
  await eventsUntil(
    client,
    job.id,
    ({ kind, body }) => kind === 'progress' && body.stage === 'generate' && body.done >= 5,
  );
  process.kill(workerPid(daemon, job.id), 'SIGKILL');
  const failed = await untilState(client, job.id, 'failed');
  expect(failed.error).toMatchObject({
    code: 'labels_missing',
    hint: expect.stringContaining('`anneal rank asked/generate --criteria fun`'),
  });
  const responses = join(daemon.home, 'datasets/asked/generate/responses.jsonl');
  expect(readFileSync(responses, 'utf8').trim().split('\n').length).toBe(12);

  const ranked = await anneal(['rank', 'asked/generate', '--criteria', 'fun', '--as', 'ida'], {
    home: daemon.home,
    input: '1e'.repeat(12),
  });
  expect(ranked.stdout).toContain('All 12 tasks are done by ida');
  await anneal(['resume', job.id], { home: daemon.home });
  await untilState(client, job.id, 'succeeded');
  const pairs = readFileSync(join(daemon.home, 'datasets/asked/rank/pairs.jsonl'), 'utf8').trim().split('\n');
  // One response was picked before the three others, some of which may have the same text.
  expect(pairs.length).toBeGreaterThanOrEqual(12);
  expect(pairs.length).toBeLessThanOrEqual(36);

  // The same recipe under another name, never disturbed, has drawn the same responses.
  const other = await startDaemon();
  const second = await other.client();
  const again = await second.call('job.submit', { ...source, recipe: recipe('quiet') });
  await untilState(second, again.job.id, 'failed');
  expect(readFileSync(join(other.home, 'datasets/quiet/generate/responses.jsonl'), 'utf8')).toBe(
    readFileSync(responses, 'utf8'),
  );
});
