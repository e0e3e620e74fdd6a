/** Validation on held-out prompts, on real runs: what is told, that it disturbs nothing, and which weights are best. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Prompt } from '../../src/rollout/prompts.ts';
import { validationPrompts } from '../../src/rollout/validation.ts';
import { differences, type Fixture, modelFolder, runHere, type TestChannel } from '../training/fixture.ts';
import { keptFixtures } from '../training/fixtures.ts';
import { runWithStops } from '../training/kills.ts';
import { digitsFixture, digitsRecipe, stepsOf } from './recipe.ts';

const fixture = keptFixtures(() => {
  const made = digitsFixture();
  // Of a hundred prompts every fifth is held out.
  const rows = readFileSync(join(made.dir, 'asked.jsonl'), 'utf8').trimEnd().split('\n');
  const write = (name: string, held: boolean) =>
    writeFileSync(join(made.dir, name), `${rows.filter((_, i) => (i % 5 === 0) === held).join('\n')}\n`);
  write('asked.jsonl', false);
  write('held.jsonl', true);
  return made;
});

const ROOM = [
  'per_device_train_batch_size: 32',
  'gradient_accumulation_steps: 2',
  'lr_scheduler_type: constant',
  'learning_rate: 2e-3',
];
const GRPO = [...ROOM, 'num_generations: 8', 'max_completion_length: 6'];
const HELD = ['eval_dataset: held.jsonl', 'eval_steps: 4'];

const validations = (channel: TestChannel) => channel.events('validation').map(({ body }) => body);

describe('held-out prompts', () => {
  let own: Fixture;
  beforeAll(() => {
    own = fixture();
  });

  it('are asked at eval_steps, and the training is as without them', async () => {
    const settings = [...GRPO, 'beta: 0.02', 'max_steps: 10'];
    const plain = await runHere(own, digitsRecipe('grpo', settings));
    const watched = await runHere(own, digitsRecipe('grpo', [...settings, ...HELD]));
    expect(watched.outcome()).toEqual({ outcome: 'succeeded', error: null });
    expect(stepsOf(watched, 'grpo')).toEqual(stepsOf(plain, 'grpo'));
    const told = validations(watched);
    expect(told.map(({ step }) => step)).toEqual([4, 8, 10]);
    for (const { metrics } of told) {
      for (const name of [
        'reward',
        'reward_std',
        'rewards/exact_match/mean',
        'completions/mean_length',
        'completions/clipped_ratio',
        'kl',
        'entropy',
      ])
        expect(metrics, name).toHaveProperty([`eval_${name}`]);
      expect(metrics['eval_sampling/sampling_logp_difference/max']).toBeLessThan(1e-5);
      // 20 prompts, 8 completions each.
      expect((160 * metrics.eval_reward!) % 1).toBeCloseTo(0, 6);
    }
    expect(told[2]!.metrics.eval_kl).toBeGreaterThan(0);
  });

  it('have as many completions as the recipe says, drawn by the same seed each time', async () => {
    // A rate of nothing: the policy stays, and so does all that is told of it.
    const settings = [
      ...GRPO,
      ...HELD,
      'num_generations_eval: 3',
      'max_steps: 8',
      'learning_rates: { .: 0 }',
    ];
    const told = validations(await runHere(own, digitsRecipe('grpo', settings)));
    expect(told[1]!.metrics).toEqual(told[0]!.metrics);
    expect((60 * told[0]!.metrics.eval_reward!) % 1).toBeCloseTo(0, 6);
    expect(told[0]!.metrics.eval_kl).toBeUndefined();
  });

  it.each([
    ['grpo', GRPO],
    [
      'rloo',
      [
        ...ROOM,
        'num_generations: 4',
        'max_completion_length: 6',
        'lora: { r: 4, target_modules: all-linear }',
      ],
    ],
    ['ppo', [...ROOM, 'response_length: 6', 'temperature: 1']],
    ['ppo', [...ROOM, 'response_length: 6', 'temperature: 1', 'critic: separate', 'lora: { r: 4 }']],
    ['online_dpo', [...ROOM, 'max_new_tokens: 6', 'temperature: 1']],
  ] as [string, string[]][])('the best by reward can be taken: %s %#', async (type, settings) => {
    const best = [...settings, 'eval_dataset: held.jsonl', 'eval_steps: 1', 'max_steps: 6'];
    const channel = await runHere(own, digitsRecipe(type, [...best, 'load_best_model_at_end: true']));
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const rewards = validations(channel).map(({ metrics }) => metrics.eval_reward!);
    const lineage = JSON.parse(readFileSync(join(modelFolder(own, type), 'artifact.json'), 'utf8')) as {
      results: Record<string, number>;
    };
    const top = Math.max(...rewards);
    expect(lineage.results).toMatchObject({
      best_eval_reward: top,
      best_step: rewards.indexOf(top) + 1,
    });
  });

  it('are asked again by a run that was stopped among them, to the same bits', async () => {
    const text = digitsRecipe('grpo', [...GRPO, ...HELD, 'save_steps: 2', 'max_steps: 6']);
    const stopped = fixture();
    const undisturbed = await runHere(own, text);
    expect(undisturbed.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const { attempts } = await runWithStops(stopped, text, 40);
    expect(attempts).toBeGreaterThan(2);
    expect(differences(modelFolder(own, 'grpo'), modelFolder(stopped, 'grpo'))).toEqual([]);
  }, 120_000);

  it.each([
    ['eval_steps without prompts', ['eval_steps: 2'], 'recipe_invalid', 'eval_steps'],
    ['prompts without eval_steps', ['eval_dataset: held.jsonl'], 'recipe_invalid', 'eval_dataset'],
    [
      'a file that is not there',
      ['eval_steps: 2', 'eval_dataset: none.jsonl'],
      'file_not_found',
      'none.jsonl',
    ],
  ])('are refused: %s', async (_, settings, code, path) => {
    const { error } = (await runHere(own, digitsRecipe('grpo', [...GRPO, ...settings]))).outcome();
    expect(error).toMatchObject({ code, path: expect.stringContaining(path) });
  });
});

describe('max_eval_tokens', () => {
  const prompts = [3, 4, 5].map((length): Prompt => {
    const ids = new Int32Array(length);
    return { origin: `${length}`, text: '', messages: undefined, ids, fields: {} };
  });
  it('is reached with the prompts that are taken, in their order', () => {
    const taken = (limit: number) => validationPrompts(prompts, 2, 7, limit).map(({ origin }) => origin);
    expect(taken(1)).toEqual(['3']);
    expect(taken(20)).toEqual(['3']);
    expect(taken(21)).toEqual(['3', '4']);
    expect(taken(1_000)).toEqual(['3', '4', '5']);
  });
});
