/** Rows that teach nothing or do not fit, and plans, of whole recipes. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { CommandReply } from '../../proto/commands.ts';
import { runPlan } from '../../src/worker/plan.ts';
import { recipeSource, runHere, TestChannel } from '../training/fixture.ts';
import { makePreferenceFixture, preferenceRecipe } from './fixture.ts';
import { COMMON, STAGES } from './table.ts';

const shared = makePreferenceFixture();
afterAll(shared.remove);

describe('rows', () => {
  const run = (rows: unknown[], settings: string[] = [], stage = 'dpo') => {
    writeFileSync(join(shared.dir, 'own.jsonl'), `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`);
    return runHere(shared, preferenceRecipe(stage, [...COMMON, 'dataset: own.jsonl', ...settings]));
  };
  const good = { prompt: 'Who?', chosen: ' Anna.', rejected: ' Ben.' };

  it('that teach nothing are told and counted', async () => {
    const channel = await run(
      [
        good,
        { ...good, prompt: 'Where?' },
        { ...good, chosen: '' },
        { ...good, rejected: ' Anna.' },
        { ...good, prompt: 'Who is it? '.repeat(60) },
      ],
      ['too_long: truncate', 'max_length: 64'],
    );
    expect(channel.outcome().error).toBeNull();
    expect(channel.events('audit').at(-1)!.body.skipped).toEqual({
      'an answer is empty': 1,
      'chosen and rejected are equal': 1,
      'the prompt alone fills max_length': 1,
    });
    const texts = channel.events('notice').map(({ body }) => body.text);
    expect(texts.join('\n')).toMatch(
      /1 of the rows left out: an answer is empty \(the first is .*own\.jsonl:3\)/,
    );
  });

  it('of several messages are trained on what the assistant writes', async () => {
    const turn = (role: string, content: string) => ({ role, content });
    const first = turn('assistant', 'Anna.');
    const row = {
      prompt: [turn('user', 'Who?')],
      chosen: [first, turn('user', 'Where?'), turn('assistant', 'Aachen.')],
      rejected: [first, turn('user', 'Where?'), turn('assistant', 'Bremen.')],
    };
    const channel = await run([row, { ...row, rejected: [turn('assistant', 'Ben.')] }]);
    expect(channel.outcome().error).toBeNull();
    const [chosen] = channel.events('audit').at(-1)!.body.examples;
    const counted = chosen!.spans.filter(({ scored }) => scored).map(({ text }) => text);
    expect(counted).toEqual(['Anna.<|im_end|>', 'Aachen.<|im_end|>']);
  });

  it('longer than max_length need a word in the recipe', async () => {
    const channel = await run([good, { ...good, chosen: ' Anna'.repeat(100) }], ['max_length: 64']);
    expect(channel.outcome().error).toMatchObject({
      code: 'data_row_too_long',
      message: expect.stringMatching(/own\.jsonl:2 chosen/),
    });
  });

  it('of which none is left are an error that says why', async () => {
    const channel = await run([{ ...good, rejected: good.chosen }]);
    expect(channel.outcome().error).toMatchObject({
      code: 'data_empty',
      message: expect.stringMatching(/1: chosen and rejected are equal/),
    });
  });

  it('of one prompt only are no rows for KTO', async () => {
    const row = { prompt: 'Who?', completion: ' Anna.', label: true };
    const channel = await run([row, { ...row, completion: ' Ben.', label: false }], [], 'kto');
    expect(channel.outcome().error).toMatchObject({
      code: 'data_empty',
      message: expect.stringMatching(/same prompt/),
    });
  });
});

async function planHere(text: string): Promise<CommandReply<'job.plan'>> {
  const channel = new TestChannel();
  const recipe = recipeSource(shared, text);
  await runPlan({ task: 'plan', home: shared.home, recipe, check_only: true }, channel);
  const planned = channel.sent.find((message) => message.type === 'planned');
  return planned!.plan;
}

describe('a plan', () => {
  it.each(STAGES)('of $type names memory and time', async ({ type, settings }) => {
    const plan = await planHere(preferenceRecipe(type, [...COMMON, ...settings]));
    const stage = plan.stages.find((each) => each.type === type)!;
    expect(stage.memory_bytes).toBeGreaterThan(0);
    const compares = ['dpo', 'kto', 'bco'].includes(type);
    expect('reference_bytes' in stage.detail).toBe(compares);
    if (compares) expect(stage.detail.reference_bytes).toBeGreaterThan(0);
  });

  it('holds the reference once where an adapter is trained, or where it is computed beforehand', async () => {
    const { type, settings } = STAGES[0]!;
    for (const line of ['lora: { r: 4, target_modules: all-linear }', 'precompute_ref_log_probs: true']) {
      const plan = await planHere(preferenceRecipe(type, [...COMMON, ...settings, line]));
      expect(plan.stages.find((each) => each.type === type)!.detail.reference_bytes).toBe(0);
    }
  });

  it.each([
    ['per_device_train_batch_size: 1000000', /per_device_train_batch_size makes microbatches of \d+ tokens/],
    ['eval_dataset: pairs.jsonl', /eval_dataset: is for the validation at eval_steps/],
    ['loss_type: absent.mjs', /absent\.mjs does not exist/],
    ['lora: { target_modules: [q_prj] }', /stages\.dpo\.lora\.target_modules: q_prj is no module/],
  ])('refuses %s before anything runs', async (line, message) => {
    await expect(planHere(preferenceRecipe('dpo', ['dataset: pairs.jsonl', line]))).rejects.toThrow(message);
  });
});
