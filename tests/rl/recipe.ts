/** Recipes over the digits task as files: a weak assistant from noisy answers, and a stage that makes it better. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataRandom } from '../../src/data/random.ts';
import { type Fixture, makeFixture } from '../training/fixture.ts';

/** A fixture with digits.jsonl (answers, half of them wrong), asked.jsonl (prompts with the right answer), and rewards. */
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
  return fixture;
}

/** The recipe up to the weak assistant, and then a stage of `type` with the lines of its settings. */
export function digitsRecipe(type: string, settings: string[], seed = 7): string {
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
    `  ${type}:`,
    '    model: sft',
    '    dataset: asked.jsonl',
    '    prompting: raw',
    '    max_length: 32',
    '    rewards: [{ type: exact_match }]',
    ...settings.map((line) => `    ${line}`),
    '',
  ].join('\n');
}
