/** What a plan refuses of models that are still to be made, before hours are spent on making them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, expect, it } from 'vitest';
import { DataRandom } from '../../src/data/random.ts';
import { plannedFileTokens } from '../../src/training/planned.ts';
import { runPlan } from '../../src/worker/plan.ts';
import { makeFixture, recipeSource, recipeText, TestChannel } from './fixture.ts';

const fixture = makeFixture();
afterAll(fixture.remove);

it.each([
  ['gzip', gzipSync],
  ['zstd', zstdCompressSync],
])('tokens of a file in %s are those of its content', async (name, compress) => {
  // Varied enough that the sample is a small part of the file.
  const random = new DataRandom('planned', 5);
  const line = () => `${Array.from({ length: 20 }, () => random.below(1 << 20).toString(36)).join(' ')}\n`;
  const content = Buffer.from(Array.from({ length: 60_000 }, line).join(''));
  const stored = compress(content);
  expect(stored.length).toBeGreaterThan(2 << 20);
  writeFileSync(join(fixture.dir, 'plain.txt'), content);
  writeFileSync(join(fixture.dir, `plain.${name}`), stored);
  const plain = await plannedFileTokens(['plain.txt'], fixture.dir);
  const estimate = await plannedFileTokens([`plain.${name}`], fixture.dir);
  // What the sample cuts off in the middle of a block is not counted.
  expect(Math.abs(estimate / plain - 1)).toBeLessThan(0.2);
  writeFileSync(join(fixture.dir, `cut.${name}`), stored.subarray(0, 10));
  expect(await plannedFileTokens([`cut.${name}`], fixture.dir)).toBe(0);
});

const plan = (stage: string) => {
  const recipe = recipeSource(fixture, `${recipeText({ sft: ['max_steps: 1'] })}  ${stage}\n`);
  return runPlan({ task: 'plan', home: fixture.home, recipe, check_only: true }, new TestChannel());
};

const REWARDS = 'rewards: [{ type: length, max: 5 }]';

it.each([
  ['max_new_tokens', 'generate: { models: { a: sft }, dataset: questions.jsonl, LENGTH }'],
  [
    'max_new_tokens',
    `compare: { models: { a: pretrain, b: sft }, against: a, dataset: questions.jsonl, ${REWARDS}, LENGTH }`,
  ],
  [
    'max_new_tokens',
    `online_dpo: { model: sft, dataset: questions.jsonl, ${REWARDS}, max_steps: 1, LENGTH }`,
  ],
  [
    'max_completion_length',
    `grpo: { model: sft, dataset: questions.jsonl, ${REWARDS}, max_steps: 1, LENGTH }`,
  ],
  ['response_length', `ppo: { model: sft, dataset: questions.jsonl, ${REWARDS}, max_steps: 1, LENGTH }`],
])('a %s that fills the context: %s', async (key, stage) => {
  const type = stage.split(':')[0]!;
  await expect(plan(stage.replace('LENGTH', `${key}: 96`))).rejects.toMatchObject({
    code: 'recipe_invalid',
    message: `tiny.yaml:28: stages.${type}.${key} is 96, which leaves no room for a prompt in the 96 tokens that are read.`,
    path: `stages.${type}.${key}`,
  });
  await plan(stage.replace('LENGTH', `${key}: 48`));
});
