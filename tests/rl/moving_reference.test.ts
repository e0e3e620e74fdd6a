/** A reference that follows the policy (TR-DPO's, as GRPO and RLOO take it): what rollouts see of it, and exact resume. */
import { describe, expect, it } from 'vitest';
import { grpoStage } from '../../src/stages/grpo.ts';
import { rlooStage } from '../../src/stages/rloo.ts';
import { differences, type Fixture, modelFolder, runHere } from '../training/fixture.ts';
import { keptFixtures } from '../training/fixtures.ts';
import { runWithKills, runWithStops } from '../training/kills.ts';
import { digitsFixture, digitsRecipe, stepsOf } from './recipe.ts';

const fixture = keptFixtures(digitsFixture);

/** Two steps a rollout; every second step the reference moves. */
const SETTINGS = [
  'per_device_train_batch_size: 32',
  'gradient_accumulation_steps: 2',
  'steps_per_generation: 4',
  'num_generations: 8',
  'max_completion_length: 6',
  'learning_rate: 2e-3',
  'beta: 0.02',
  'save_steps: 1',
  'max_steps: 6',
];
const moving = (alpha: number) => [
  'sync_ref_model: true',
  `ref_model_mixup_alpha: ${alpha}`,
  'ref_model_sync_steps: 2',
];

describe.each(['grpo', 'rloo'])('%s', (type) => {
  const run = async (settings: string[]): Promise<{ own: Fixture; divergences: number[] }> => {
    const own = fixture();
    const channel = await runHere(own, digitsRecipe(type, [...SETTINGS, ...settings]));
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    return { own, divergences: stepsOf(channel, type).map((step) => step.kl!) };
  };

  it('begins each rollout with no divergence where the reference becomes the policy', async () => {
    const { divergences } = await run(moving(1));
    const { divergences: still } = await run([]);
    expect(divergences.map(Math.abs).filter((_, step) => step % 2 === 0)).toEqual([0, 0, 0]);
    expect(Math.abs(still[2]!)).toBeGreaterThan(0);
    expect(Math.abs(still[4]!)).toBeGreaterThan(0);
  });

  it('ends with the same bits after kill -9, and when stopped again and again', async () => {
    const text = digitsRecipe(type, [...SETTINGS, ...moving(0.5)]);
    const { own: undisturbed } = await run(moving(0.5));
    const [killed, stopped] = [fixture(), fixture()];
    const { attempts } = await runWithStops(stopped, text, 90);
    expect(attempts).toBeGreaterThan(1);
    expect((await runWithKills(killed, text, 4, 2_000, 3)).length).toBeGreaterThan(0);
    for (const other of [stopped, killed])
      expect(differences(modelFolder(undisturbed, type), modelFolder(other, type))).toEqual([]);
  }, 240_000);
});

describe.each([
  ['grpo', grpoStage.schema],
  ['rloo', rlooStage.schema],
])('%s refuses sync_ref_model', (_, schema) => {
  const settings = { model: 'sft', dataset: 'asked.jsonl', rewards: [{ type: 'exact_match' }], max_steps: 1 };
  it.each([
    [{ beta: 0 }, /beta is 0/],
    [{ beta: 0.1, lora: { r: 4 } }, /frozen base/],
  ])('with %j', (own, message) => {
    const { error } = schema.safeParse({
      ...settings,
      per_device_train_batch_size: 8,
      ...own,
      sync_ref_model: true,
    });
    expect(error?.issues).toContainEqual(
      expect.objectContaining({ path: ['sync_ref_model'], message: expect.stringMatching(message) }),
    );
  });
});
