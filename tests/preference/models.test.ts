/** What is special to bco, reward and distill; and adapters. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { modelFolder, runHere } from '../training/fixture.ts';
import { ASSISTANT, makePreferenceFixture, metricsOf, preferenceRecipe } from './fixture.ts';
import { COMMON, mean, STAGES } from './table.ts';

const shared = makePreferenceFixture();
beforeAll(async () => {
  await runHere(shared, ASSISTANT);
});
afterAll(shared.remove);

describe('bco', () => {
  const run = async (name: string, code: string) => {
    writeFileSync(join(shared.dir, name), code);
    const settings = [...COMMON, 'dataset: labels.jsonl', `prompt_embedding: ${name}`];
    return runHere(shared, preferenceRecipe('bco', settings));
  };

  it('weights undesirable answers by embeddings of their prompts', async () => {
    const embed =
      'export default async (texts) => texts.map((text) => [text.length / 30, text.includes("Anna") ? 1 : 0]);';
    expect((await run('embed.mjs', embed)).outcome().error).toBeNull();
  });

  it.each([
    ['absent.mjs', 'export const a = 1;', /has no function/],
    ['throws.mjs', 'export default () => { throw new Error("no"); };', /threw an error: no/],
    ['short.mjs', 'export default (texts) => texts.slice(1).map(() => [1]);', /no \d+ embeddings/],
    [
      'ragged.mjs',
      'export default (texts) => texts.map((t, i) => Array(1 + (i % 2)).fill(1));',
      /equal length/,
    ],
    ['nan.mjs', 'export default (texts) => texts.map(() => [NaN]);', /no \d+ embeddings/],
  ])('refuses embeddings of %s', async (name, code, problem) => {
    expect((await run(name, code)).outcome().error).toMatchObject({
      code: 'objective_invalid',
      message: expect.stringMatching(problem),
      path: 'stages.bco.prompt_embedding',
    });
  });
});

describe('reward', () => {
  it('reports accuracy and calibration on prompts that it has not seen', async () => {
    const channel = await runHere(
      shared,
      preferenceRecipe('reward', [
        ...COMMON.map((line) => (line.startsWith('max_steps') ? 'max_steps: 30' : line)),
        'dataset: rankings.jsonl',
        'validation_fraction: 0.2',
      ]),
    );
    expect(channel.outcome().error).toBeNull();
    const report = JSON.parse(readFileSync(join(modelFolder(shared, 'reward'), 'report.json'), 'utf8')) as {
      calibration: { pairs: number; accuracy: number; ece: number };
    };
    // 20 of 100 prompts with 5 comparisons each: one best answer, two in the middle, one worst.
    expect(report.calibration.pairs).toBe(100);
    expect(report.calibration.accuracy).toBeGreaterThan(0.8);
    expect(channel.events('report').at(-1)!.body.title).toMatch(/held-out pairs in order, ECE/);
  });

  it('is a sequence-classification folder, read back', () => {
    const config = JSON.parse(
      readFileSync(join(modelFolder(shared, 'reward'), 'config.json'), 'utf8'),
    ) as object;
    expect(config).toMatchObject({ architectures: ['LlamaForSequenceClassification'], num_labels: 1 });
  });

  it('models are refused where one that writes is needed', async () => {
    const reward = modelFolder(shared, 'reward');
    const chats = 'dataset: completions.jsonl';
    for (const stage of [
      `sft: { model: ${reward}, ${chats}, max_steps: 1 }`,
      `dpo: { model: ${reward}, dataset: pairs.jsonl, max_steps: 1 }`,
      `dpo: { model: ${modelFolder(shared, 'sft')}, ref_model: ${reward}, dataset: pairs.jsonl, max_steps: 1 }`,
      `grpo: { model: ${reward}, ${chats}, rewards: [{ type: length, max: 3 }], max_completion_length: 4, max_steps: 1 }`,
      `distill: { model: ${modelFolder(shared, 'sft')}, teacher: ${reward}, ${chats}, max_steps: 1 }`,
      `generate: { models: { a: ${reward} }, ${chats}, max_new_tokens: 4 }`,
      `evaluate: { models: { a: ${reward} }, dataset: questions.jsonl }`,
      `compare: { models: { a: ${reward}, b: ${reward} }, against: a, dataset: questions.jsonl, rewards: [{ type: length, max: 3 }], max_new_tokens: 4 }`,
    ]) {
      const channel = await runHere(shared, `name: other\nstages:\n  ${stage}\n`);
      expect(channel.outcome().error, stage).toMatchObject({
        code: 'model_invalid',
        message: expect.stringContaining('is a reward model'),
      });
    }
  });
});

describe('distill', () => {
  let eos = 0;
  beforeAll(async () => {
    eos = (await loadTokenizer(modelFolder(shared, 'sft'))).eosId!;
  });
  const stored = () => ({
    prompt: 'Who?',
    completion: ' A',
    completion_ids: [300, eos],
    top_ids: [
      [300, 5],
      [eos, 5],
    ],
    top_log_probs: [
      [-0.1, -3],
      [-0.1, -3],
    ],
  });
  const run = (row: object, ...settings: string[]) => {
    writeFileSync(join(shared.dir, 'own.jsonl'), `${JSON.stringify(row)}\n`);
    return runHere(shared, preferenceRecipe('distill', [...COMMON, 'dataset: own.jsonl', ...settings]));
  };

  it('learns from stored log-probabilities', async () => {
    const channel = await run(stored());
    expect(channel.outcome().error).toBeNull();
    const steps = metricsOf(shared, 'distill');
    expect(steps.at(-1)!.loss).toBeLessThan(steps[0]!.loss!);
  });

  it.each([
    [{ top_ids: undefined, top_log_probs: undefined }, [], 'data_field', /brings no top_ids/],
    [{ completion_ids: [100_000, 2] }, [], 'data_field', /100000 is not in the vocabulary/],
    [{}, ['teacher_temperature: 2'], 'recipe_invalid', /teacher_temperature/],
    [{}, ['lmbda: 0.5'], 'recipe_invalid', /lmbda/],
    [{}, ['seq_kd: true'], 'recipe_invalid', /seq_kd/],
  ])('refuses %j %j', async (change, settings, code, message) => {
    const channel = await run({ ...stored(), ...change }, ...settings);
    expect(channel.outcome().error).toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

describe('lora', () => {
  it.each(['dpo', 'reward', 'kto'])(
    '%s trains an adapter over one base, the reference without it',
    async (type) => {
      const { settings, metric, rises } = STAGES.find((stage) => stage.type === type)!;
      const lora = 'lora: { r: 4, target_modules: all-linear }';
      const text = preferenceRecipe(type, [
        ...COMMON.map((line) => (line.startsWith('learning_rate') ? 'learning_rate: 1e-2' : line)),
        ...settings,
        lora,
      ]);
      const channel = await runHere(shared, text);
      expect(channel.outcome().error).toBeNull();
      const steps = metricsOf(shared, type).filter((line) => 'loss' in line);
      if (type === 'dpo') expect(steps[0]!.loss).toBeCloseTo(Math.LN2, 4);
      const change = mean(steps.slice(-3), metric) - mean(steps.slice(0, 3), metric);
      expect(rises ? change : -change).toBeGreaterThan(0);
    },
  );
});
