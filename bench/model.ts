/** The Llamas of the benchmarks, by the names of transformers' configuration, and as the engine is asked for them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readConfig } from '../src/models/families.ts';
import type { Architecture } from '../src/native/addon.ts';

export interface BenchModel {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  max_position_embeddings: number;
}

export const M15: BenchModel = {
  vocab_size: 32_000,
  hidden_size: 288,
  intermediate_size: 768,
  num_hidden_layers: 6,
  num_attention_heads: 6,
  num_key_value_heads: 6,
  head_dim: 48,
  max_position_embeddings: 512,
};

/** Of the size of GPT-2 small; the Python side reads the same file. */
export const M110 = JSON.parse(
  readFileSync(join(import.meta.dirname, 'model_110m.json'), 'utf8'),
) as BenchModel;

/** With tied embeddings, as both sides build it. */
export function benchArchitecture(model: BenchModel): Architecture {
  const config = {
    architectures: ['LlamaForCausalLM'],
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    ...model,
  };
  return readConfig(config, 'bench').architecture;
}
