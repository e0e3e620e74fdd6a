/** The `model:` block of a recipe: a new model by the fields of config.json. */
import { z } from 'zod';
import type { Architecture } from '../native/addon.ts';
import { contradiction, FAMILIES, type Family, readConfig } from './families.ts';

const size = z.int().positive();

export const modelSettingsSchema = z
  .strictObject({
    architecture: z
      .enum([...FAMILIES.keys()] as [string, ...string[]])
      .default('LlamaForCausalLM')
      .describe('The family.'),
    hidden_size: size.describe('Width of the residual stream.'),
    num_hidden_layers: size.describe('Layers.'),
    num_attention_heads: size.describe('Query heads.'),
    num_key_value_heads: size
      .optional()
      .describe('Heads of keys and values. Default: as many as query heads.'),
    head_dim: size.optional().describe('Default: hidden_size by num_attention_heads.'),
    intermediate_size: size
      .optional()
      .describe('Default: 8/3 of hidden_size (4 times without a gate), up to a multiple of 64.'),
    max_position_embeddings: size.default(1024).describe('The context: tokens that the model reads at most.'),
    rope_theta: z.number().positive().default(10_000).describe('Base of the rotary frequencies.'),
    norm_eps: z.number().positive().default(1e-5).describe('Added to the variance in normalisation.'),
    attention_bias: z
      .boolean()
      .optional()
      .describe("Biases in attention, where the family leaves it open. Default: the family's."),
    mlp_bias: z.boolean().optional().describe('Biases in the feed-forward part (Llama).'),
    tie_word_embeddings: z.boolean().default(true).describe('The head is the embedding table.'),
    initializer_range: z.number().positive().default(0.02).describe('Standard deviation of new weights.'),
  })
  .superRefine((settings, context) => {
    const fixed = (field: 'attention_bias' | 'mlp_bias', open: boolean) => {
      if (settings[field] === undefined || open) return;
      context.addIssue({ code: 'custom', path: [field], message: `is fixed by ${settings.architecture}` });
    };
    fixed('attention_bias', settings.architecture !== 'Qwen2ForCausalLM');
    fixed('mlp_bias', settings.architecture === 'LlamaForCausalLM');
    if (settings.head_dim === undefined && settings.hidden_size % settings.num_attention_heads !== 0) {
      context.addIssue({
        code: 'custom',
        path: ['num_attention_heads'],
        message: `hidden_size (${settings.hidden_size}) is not a multiple of num_attention_heads (${settings.num_attention_heads})`,
      });
      return;
    }
    const heads = settings.num_attention_heads;
    const problem = contradiction({
      numHeads: heads,
      numKvHeads: settings.num_key_value_heads ?? heads,
      headDim: settings.head_dim ?? settings.hidden_size / heads,
    });
    if (problem) context.addIssue({ code: 'custom', path: [problem.field], message: problem.message });
  });
export type ModelSettings = z.output<typeof modelSettingsSchema>;

/** The architecture of a new model for a vocabulary of `vocabSize` tokens. */
export function newArchitecture(
  settings: ModelSettings,
  vocabSize: number,
): { family: Family; architecture: Architecture } {
  const gated = settings.architecture !== 'Starcoder2ForCausalLM';
  const intermediate = Math.ceil((settings.hidden_size * (gated ? 8 / 3 : 4)) / 64) * 64;
  return readConfig(
    {
      architectures: [settings.architecture],
      vocab_size: vocabSize,
      hidden_size: settings.hidden_size,
      intermediate_size: settings.intermediate_size ?? intermediate,
      num_hidden_layers: settings.num_hidden_layers,
      num_attention_heads: settings.num_attention_heads,
      num_key_value_heads: settings.num_key_value_heads,
      head_dim: settings.head_dim ?? Math.floor(settings.hidden_size / settings.num_attention_heads),
      max_position_embeddings: settings.max_position_embeddings,
      rope_theta: settings.rope_theta,
      rms_norm_eps: settings.norm_eps,
      norm_epsilon: settings.norm_eps,
      attention_bias: settings.attention_bias,
      use_bias: settings.attention_bias,
      mlp_bias: settings.mlp_bias,
      tie_word_embeddings: settings.tie_word_embeddings,
    },
    'model',
  );
}
