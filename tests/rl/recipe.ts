/** Recipes over the digits task as files: a weak assistant from noisy answers, and a stage that makes it better. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataRandom } from '../../src/data/random.ts';
import { type Fixture, makeFixture, type TestChannel } from '../training/fixture.ts';

/** The digit that the reward model likes. */
export const LIKED = 7;

/**
 * A fixture with digits.jsonl (answers, half of them wrong), asked.jsonl (prompts with the right answer), and
 * pairs.jsonl (the digit that a reward model is to like, against another or one that does not stop).
 */
export function digitsFixture(): Fixture {
  const fixture = makeFixture();
  const random = new DataRandom('digits');
  const lines = (rows: unknown[]) => `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`;
  const pairs = Array.from({ length: 100 }, (_, i) => [Math.floor(i / 10), i % 10] as const);
  const prompt = ([a, b]: readonly [number, number]) => `${a}${b}=`;
  writeFileSync(
    join(fixture.dir, 'digits.jsonl'),
    lines(
      Array.from({ length: 400 }, (_, i) => {
        const pair = pairs[i % 100]!;
        const digit = random.below(3) > 0 ? Math.max(...pair) : random.below(10);
        return { prompt: prompt(pair), completion: String(digit) };
      }),
    ),
  );
  writeFileSync(
    join(fixture.dir, 'asked.jsonl'),
    lines(pairs.map((pair) => ({ prompt: prompt(pair), answer: String(Math.max(...pair)) }))),
  );
  writeFileSync(
    join(fixture.dir, 'pairs.jsonl'),
    lines(
      Array.from({ length: 400 }, (_, i) => {
        const pair = pairs[i % 100]!;
        const wrong = String((LIKED + 1 + random.below(9)) % 10);
        const more = `${LIKED}${wrong.repeat(1 + random.below(3))}`;
        return { prompt: prompt(pair), chosen: String(LIKED), rejected: i % 4 === 0 ? more : wrong };
      }),
    ),
  );
  return fixture;
}

/** A reward model that likes one digit over a model, as lines of YAML. */
export function rewardStage(model: string, settings: string[] = [], steps = 60): string[] {
  return [
    '  reward:',
    `    model: ${model}`,
    '    dataset: pairs.jsonl',
    '    max_length: 32',
    '    per_device_train_batch_size: 16',
    '    learning_rate: 3e-3',
    `    max_steps: ${steps}`,
    '    lr_scheduler_type: constant',
    ...settings.map((line) => `    ${line}`),
  ];
}

/**
 * The recipe up to the weak assistant, further stages (lines of YAML), and then a stage of `type` with the lines of
 * its settings; rewarded by the right answer, unless they say by what.
 */
export function digitsRecipe(type: string, settings: string[], seed = 7, further: string[] = []): string {
  const rewarded = settings.some((line) => /^(rewards|reward_model):/.test(line));
  return [
    'name: tiny',
    `seed: ${seed}`,
    'threads: 2',
    'stages:',
    '  tokenizer:',
    '    files: [corpus.jsonl]',
    '    vocab_size: 300',
    '  prepare:',
    '    sources: [{ files: [corpus.jsonl] }]',
    '  pretrain:',
    '    dataset: prepare',
    '    model:',
    '      hidden_size: 48',
    '      num_hidden_layers: 2',
    '      num_attention_heads: 4',
    '      num_key_value_heads: 2',
    '      max_position_embeddings: 96',
    '    max_steps: 2',
    '    too_long: split',
    '    per_device_train_batch_size: 2',
    '  sft:',
    '    model: pretrain',
    '    dataset: digits.jsonl',
    '    max_length: 32',
    '    per_device_train_batch_size: 16',
    '    learning_rate: 3e-3',
    '    max_steps: 120',
    '    lr_scheduler_type: constant',
    ...further,
    `  ${type}:`,
    '    model: sft',
    '    dataset: asked.jsonl',
    '    prompting: raw',
    '    max_length: 32',
    ...(rewarded ? [] : ['    rewards: [{ type: exact_match }]']),
    ...settings.map((line) => `    ${line}`),
    '',
  ].join('\n');
}

/** Metrics of the steps of a stage. */
export function stepsOf(channel: TestChannel, stage: string): Record<string, number>[] {
  return channel
    .events('progress')
    .filter(({ body }) => body.stage === stage && body.unit === 'step')
    .map(({ body }) => body.metrics);
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
