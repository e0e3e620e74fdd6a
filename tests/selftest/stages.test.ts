/** Every stage that trains is tested as it is: shared prompts, references, heads of values, adapters, rollouts. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ASSISTANT, makePreferenceFixture, preferenceRecipe } from '../preference/fixture.ts';
import { COMMON, STAGES } from '../preference/table.ts';
import { digitsFixture, digitsRecipe } from '../rl/recipe.ts';
import { type Fixture, runHere, type TestChannel } from '../training/fixture.ts';

const fixtures: Fixture[] = [];
afterAll(() => {
  for (const each of fixtures) each.remove();
});

/** Result of each check. */
function checks(channel: TestChannel): Record<string, unknown> {
  expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
  const [report] = channel.events('report');
  return Object.fromEntries(report!.body.rows.map(([name, result]) => [name, result]));
}

const SHARED = 'without shared prefixes: gradient';

describe('preference stages', () => {
  let fixture: Fixture;
  beforeAll(async () => {
    fixture = makePreferenceFixture();
    fixtures.push(fixture);
    await runHere(fixture, ASSISTANT);
  });

  it.each(STAGES)('$type holds', async ({ type, settings }) => {
    const text = preferenceRecipe(type, [...COMMON, ...settings]);
    const found = checks(await runHere(fixture, text, { job: `test-${type}`, selftest: [type] }));
    expect(Object.keys(found).length).toBeGreaterThan(5);
  });

  it('an adapter holds, with dropout', async () => {
    const lora = ['lora: { r: 4, lora_alpha: 8, lora_dropout: 0.1 }', 'dataset: pairs.jsonl'];
    const text = preferenceRecipe('dpo', [...COMMON, ...lora]);
    const found = checks(await runHere(fixture, text, { job: 'lora', selftest: ['dpo'] }));
    expect(Object.keys(found)).toContain(SHARED);
    expect(Object.keys(found)).not.toContain('the same batch again: gradient');
  });
});

describe('stages with rollouts', () => {
  let fixture: Fixture;
  const room = ['per_device_train_batch_size: 8', 'gradient_accumulation_steps: 2', 'max_steps: 2'];
  const settings: Record<string, string[]> = {
    grpo: ['num_generations: 8', 'max_completion_length: 6'],
    rloo: ['num_generations: 4', 'max_completion_length: 6'],
    ppo: ['num_generations: 4', 'response_length: 6', 'num_ppo_epochs: 1'],
    online_dpo: ['max_new_tokens: 6'],
  };
  const recipe = (type: string, lines: string[]) =>
    digitsRecipe(type, [...room, ...lines]).replace('max_steps: 120', 'max_steps: 10');
  beforeAll(async () => {
    fixture = digitsFixture();
    fixtures.push(fixture);
    await runHere(fixture, recipe('grpo', settings.grpo!));
  });

  it.each(Object.keys(settings))('%s holds', async (type) => {
    const text = recipe(type, settings[type]!);
    const found = checks(await runHere(fixture, text, { job: `test-${type}`, selftest: [type] }));
    expect(Object.keys(found).some((name) => name.endsWith(SHARED))).toBe(true);
  });
});
