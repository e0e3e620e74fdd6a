/** Adapters that adapter.test.ts compares with PEFT's. */

/** A small model of a family. */
export interface Base {
  name: string;
  architecture: string;
  options?: Record<string, unknown>;
}
export const llama: Base = { name: 'llama', architecture: 'LlamaForCausalLM' };
export const untied: Base = {
  name: 'untied',
  architecture: 'LlamaForCausalLM',
  options: { tie_word_embeddings: false },
};
export const qwen2: Base = { name: 'qwen2', architecture: 'Qwen2ForCausalLM' };
export const qwen3: Base = { name: 'qwen3', architecture: 'Qwen3ForCausalLM' };
export const starcoder2: Base = { name: 'starcoder2', architecture: 'Starcoder2ForCausalLM' };

/** An adapter over it, by keys that both sides take. */
export interface Case {
  name: string;
  base: Base;
  lora: Record<string, unknown>;
}

export const cases: Case[] = [
  { name: 'LoRA of queries and values', base: llama, lora: { target_modules: ['q_proj', 'v_proj'] } },
  {
    name: 'rsLoRA with the biases of its modules',
    base: qwen2,
    lora: { target_modules: ['q_proj', 'mlp.down_proj'], use_rslora: true, lora_alpha: 3, bias: 'lora_only' },
  },
  {
    name: 'DoRA of all linear modules',
    base: qwen3,
    lora: { target_modules: 'all-linear', use_dora: true, r: 4, lora_alpha: 6 },
  },
  { name: 'PiSSA', base: llama, lora: { target_modules: 'all-linear', init_lora_weights: 'pissa', r: 3 } },
  {
    name: 'a regular expression, patterns of rank and alpha, all biases',
    base: starcoder2,
    lora: {
      target_modules: String.raw`.*\.(q_proj|v_proj|c_fc)`,
      rank_pattern: { q_proj: 2, 'layers\\.1\\..*\\.v_proj': 5 },
      alpha_pattern: { v_proj: 3 },
      bias: 'all',
    },
  },
  {
    name: 'one layer, and a head trained whole',
    base: untied,
    lora: {
      target_modules: ['k_proj', 'up_proj'],
      layers_to_transform: [1],
      modules_to_save: ['lm_head'],
      init_lora_weights: 'gaussian',
      lora_dropout: 0.1,
    },
  },
  {
    name: 'norms and an embedding trained whole, both factors random',
    base: untied,
    lora: {
      target_modules: ['model.layers.0.self_attn.o_proj', 'gate_proj'],
      modules_to_save: ['input_layernorm', 'embed_tokens'],
      init_lora_weights: false,
    },
  },
  {
    name: 'embeddings that are the head too, trained whole as one',
    base: llama,
    lora: { target_modules: ['q_proj'], modules_to_save: ['embed_tokens'], ensure_weight_tying: true },
  },
  {
    name: 'the same by its other end, with DoRA',
    base: llama,
    lora: {
      target_modules: ['v_proj'],
      modules_to_save: ['lm_head', 'norm'],
      ensure_weight_tying: true,
      use_dora: true,
    },
  },
  {
    name: 'LoRA with dropout',
    base: qwen2,
    lora: { target_modules: 'all-linear', r: 4, lora_alpha: 6, lora_dropout: 0.25 },
  },
  {
    name: 'DoRA with dropout, some modules without',
    base: qwen2,
    lora: {
      target_modules: ['q_proj', 'v_proj', 'o_proj', 'up_proj', 'down_proj'],
      use_dora: true,
      r: 4,
      lora_alpha: 6,
      lora_dropout: 0.25,
    },
  },
  {
    name: 'DoRA with rsLoRA, patterns and biases',
    base: starcoder2,
    lora: {
      target_modules: ['k_proj', 'o_proj', 'c_proj'],
      use_dora: true,
      use_rslora: true,
      rank_pattern: { c_proj: 3 },
      bias: 'lora_only',
    },
  },
];
