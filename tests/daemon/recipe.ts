/** The tiny recipe of the tests, for those that run outside of vitest, too. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The recipe of a job that trains for `steps` steps, checkpointing often. */
export function tinyRecipe(
  folder: string,
  options: { name?: string; steps?: number; saveSteps?: number; threads?: number } = {},
) {
  const { name = 'tiny', steps = 40, saveSteps = 10, threads = 1 } = options;
  const lines = Array.from(
    { length: 2_000 },
    (_value, n) => `Fox ${n} jumps over ${(n * 7) % 31} lazy dogs at noon.\n`,
  );
  writeFileSync(join(folder, 'text.txt'), lines.join(''));
  // A step takes about 20 ms: long enough to be killed in the middle, short enough for many.
  const recipe = `name: ${name}
seed: 7
threads: ${threads}
stages:
  tokenizer:
    files: [text.txt]
    vocab_size: 300
  prepare:
    files: [text.txt]
  pretrain:
    dataset: prepare
    too_long: split
    model:
      hidden_size: 64
      intermediate_size: 128
      num_hidden_layers: 2
      num_attention_heads: 4
      max_position_embeddings: 128
    per_device_train_batch_size: 16
    max_steps: ${steps}
    save_steps: ${saveSteps}
`;
  return { recipe, base_dir: folder, source: 'tiny.yaml' };
}
