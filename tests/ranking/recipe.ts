/** Recipes of tests of `generate` and `rank`: two models, their responses to the fixture's questions, their ranking. */
import { readFileSync } from 'node:fs';
import { recipeText } from '../training/fixture.ts';

export const MODELS = recipeText({
  pretrain: ['max_steps: 20'],
  sft: ['max_steps: 40', 'learning_rate: 5e-3', 'per_device_train_batch_size: 4'],
});
export const GENERATE = `  generate:
    models: { early: pretrain, assistant: sft }
    prompting: { early: chat }
    dataset: questions.jsonl
    num_generations: 3
    temperatures: [1, 0]
    max_new_tokens: 10
    batch_size: 6
`;
export const RANK = `  rank:
    dataset: generate
    labels: programs
    programs:
      - { type: exact_match, contains: true }
      - { type: length, target: 8, unit: words, weight: 0.5 }
`;

/** The rows of a file. */
export const jsonl = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
