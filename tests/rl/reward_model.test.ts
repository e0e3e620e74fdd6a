/** Learning from a reward model, on real runs: one that was trained on pairs, and one that reads other tokens. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Fixture, modelFolder, runHere } from '../training/fixture.ts';
import { digitsFixture, digitsRecipe, LIKED, mean, rewardStage, stepsOf } from './recipe.ts';

let fixture: Fixture;
beforeAll(() => {
  fixture = digitsFixture();
});
afterAll(() => fixture.remove());

const PPO = [
  'per_device_train_batch_size: 32',
  'gradient_accumulation_steps: 2',
  'lr_scheduler_type: constant',
  'response_length: 6',
  'num_generations: 8',
  'num_ppo_epochs: 2',
  'temperature: 1',
  'learning_rate: 2e-3',
  'vf_coef: 0.5',
  'kl_coef: 0.2',
  'missing_eos_penalty: 5',
  'reward_model: reward',
];

/** A model over another tokenizer than the policy's, for a reward stage to go on from. */
const OTHER = [
  '  other_tokenizer: { type: tokenizer, files: [corpus.jsonl], vocab_size: 280 }',
  '  other_data: { type: prepare, tokenizer: other_tokenizer, sources: [{ files: [corpus.jsonl] }] }',
  '  other:',
  '    type: pretrain',
  '    dataset: other_data',
  '    model: { hidden_size: 48, num_hidden_layers: 2, num_attention_heads: 4, max_position_embeddings: 96 }',
  '    max_steps: 2',
  '    too_long: split',
];
const ANOTHER_TOKENIZER = expect.stringContaining('another tokenizer');

/** What a step's reward is made of: the reward model's score by weight, less the penalty of what was cut. */
const rewardOf = (step: Record<string, number>, weight: number) =>
  weight * step['rewards/reward_model/mean']! - 5 * step['completions/clipped_ratio']!;

describe('ppo from a reward model', () => {
  it('writes what the reward model was taught to like', async () => {
    // A program of no weight counts how often that is.
    const counted = `rewards: [{ type: regex, pattern: ^${LIKED}$, weight: 0 }]`;
    const channel = await runHere(
      fixture,
      digitsRecipe('ppo', [...PPO, counted, 'max_steps: 40'], 7, rewardStage('sft')),
    );
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const steps = stepsOf(channel, 'ppo');
    for (const step of steps) expect(step.reward).toBeCloseTo(rewardOf(step, 1), 5);
    const shares = steps.map((step) => step['rewards/regex/mean']!);
    expect(mean(shares.slice(0, 2))).toBeLessThan(0.3);
    expect(mean(shares.slice(-10))).toBeGreaterThan(0.75);
    expect(channel.events('notice').map(({ body }) => body.text)).not.toContainEqual(ANOTHER_TOKENIZER);
  });

  it('gives one with another tokenizer the texts, encoded anew, and says so', async () => {
    const settings = [...PPO, 'reward_model_weight: 0.5', 'max_steps: 3'];
    const further = [...OTHER, ...rewardStage('other')];
    const channel = await runHere(fixture, digitsRecipe('ppo', settings, 7, further));
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const notices = channel.warnings().filter(({ body }) => body.stage === 'ppo');
    expect(notices.map(({ body }) => body.text)).toEqual([ANOTHER_TOKENIZER]);
    const [first] = stepsOf(channel, 'ppo');
    expect(first!['rewards/reward_model/std']).toBeGreaterThan(0);
    expect(first!.reward).toBeCloseTo(rewardOf(first!, 0.5), 5);
  });

  it('asks for another beginning of the critic then', async () => {
    const further = [...OTHER, ...rewardStage('other')];
    const run = async (settings: string[]) =>
      (
        await runHere(
          fixture,
          digitsRecipe('ppo', [...PPO, 'critic: separate', 'max_steps: 1', ...settings], 7, further),
        )
      ).outcome();
    expect((await run([])).error).toMatchObject({
      code: 'tokenizer_invalid',
      path: 'stages.ppo.critic_model',
      hint: expect.stringContaining('critic_model'),
    });
    expect(await run(['critic_model: sft'])).toEqual({ outcome: 'succeeded', error: null });
  });

  it('refuses a model without a scalar head', async () => {
    const text = digitsRecipe('ppo', [...PPO, 'max_steps: 1']).replace(
      'reward_model: reward',
      `reward_model: ${modelFolder(fixture, 'sft')}`,
    );
    const { error } = (await runHere(fixture, text)).outcome();
    expect(error).toMatchObject({ code: 'model_invalid', path: 'stages.ppo.reward_model' });
  });
});
