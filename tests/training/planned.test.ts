/** What a plan refuses of models that are still to be made, before hours are spent on making them. */
import { afterAll, expect, it } from 'vitest';
import { runPlan } from '../../src/worker/plan.ts';
import { makeFixture, recipeSource, recipeText, TestChannel } from './fixture.ts';

const fixture = makeFixture();
afterAll(fixture.remove);

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
