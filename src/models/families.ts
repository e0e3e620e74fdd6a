/**
 * Families of models: Hugging Face's `config.json` to and from the fields of the one decoder. A family is one entry
 * of the table `FAMILIES`; the engine names the tensors as Hugging Face does. A `...ForSequenceClassification` with
 * one label is the same decoder with a scalar head instead of the language-model head: a reward model.
 */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { Architecture } from '../native/addon.ts';
import { didYouMean } from '../util/nearest.ts';

export interface Family {
  /** Hugging Face's class name, in `architectures` of config.json. */
  name: string;
  modelType: string;
  read(config: Config): Architecture;
  /** Fields of config.json beyond those that all families share. */
  write(architecture: Architecture): Record<string, unknown>;
}

const size = z
  .int()
  .positive()
  .max(1 << 24);

/** The fields of config.json that decide the arithmetic; others are kept out of the way. */
const configSchema = z.looseObject({
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  hidden_act: z.string().nullish(),
  rms_norm_eps: z.number().positive().nullish(),
  norm_epsilon: z.number().positive().nullish(),
  max_position_embeddings: size.nullish(),
  rope_theta: z.number().positive().nullish(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  use_bias: z.boolean().nullish(),
  tie_word_embeddings: z.boolean().nullish(),
  use_sliding_window: z.boolean().nullish(),
  sliding_window: z.int().nullish(),
  num_labels: z.int().nullish(),
  id2label: z.record(z.string(), z.unknown()).nullish(),
});
type Config = z.output<typeof configSchema>;

interface Defaults {
  ropeTheta: number;
  maxPositions: number;
  tieEmbeddings: boolean;
  headDim?: number;
}

/** The fields that all families share, with a family's defaults for those that a config may leave out. */
function common(
  config: Config,
  defaults: Defaults,
): Omit<Architecture, 'norm' | 'normEps' | 'activation' | 'qkNorm'> {
  const rope = config.rope_parameters ?? config.rope_scaling ?? {};
  const ropeType = rope.rope_type ?? rope.type ?? 'default';
  if (ropeType !== 'default') throw unsupported('rope_scaling', `rotary scaling of type ${String(ropeType)}`);
  const numHeads = config.num_attention_heads;
  const theta = config.rope_parameters?.rope_theta ?? config.rope_theta ?? defaults.ropeTheta;
  if (typeof theta !== 'number' || !(theta > 0))
    throw unsupported('rope_theta', `a rope_theta of ${String(theta)}`);
  return {
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    intermediateSize: config.intermediate_size,
    numLayers: config.num_hidden_layers,
    numHeads,
    numKvHeads: config.num_key_value_heads ?? numHeads,
    headDim: config.head_dim ?? defaults.headDim ?? Math.floor(config.hidden_size / numHeads),
    ropeTheta: theta,
    qkvBias: false,
    outBias: false,
    mlpBias: false,
    tieEmbeddings: config.tie_word_embeddings ?? defaults.tieEmbeddings,
    maxPositions: config.max_position_embeddings ?? defaults.maxPositions,
  };
}

function requireActivation(config: Config, wanted: string): void {
  const found = config.hidden_act ?? wanted;
  if (found !== wanted) throw unsupported('hidden_act', `hidden_act ${found} (this family has ${wanted})`);
}

/** A window is exact up to its own length; the model is held to that. */
function withinWindow(maxPositions: number, window: number | null | undefined): number {
  return window == null ? maxPositions : Math.min(maxPositions, window);
}

function unsupported(field: string, what: string): AnnealError {
  return new AnnealError('model_invalid', `config.json: ${what} is not supported.`, { path: field });
}

const llama: Family = {
  name: 'LlamaForCausalLM',
  modelType: 'llama',
  read(config) {
    requireActivation(config, 'silu');
    const bias = config.attention_bias ?? false;
    return {
      ...common(config, { ropeTheta: 10_000, maxPositions: 2048, tieEmbeddings: false }),
      norm: 'rmsnorm',
      normEps: config.rms_norm_eps ?? 1e-6,
      activation: 'swiglu',
      qkvBias: bias,
      outBias: bias,
      mlpBias: config.mlp_bias ?? false,
      qkNorm: false,
    };
  },
  write: (a) => ({
    hidden_act: 'silu',
    rms_norm_eps: a.normEps,
    attention_bias: a.qkvBias,
    mlp_bias: a.mlpBias,
  }),
};

const qwen2: Family = {
  name: 'Qwen2ForCausalLM',
  modelType: 'qwen2',
  read(config) {
    requireActivation(config, 'silu');
    const shared = common(config, { ropeTheta: 10_000, maxPositions: 32_768, tieEmbeddings: false });
    return {
      ...shared,
      norm: 'rmsnorm',
      normEps: config.rms_norm_eps ?? 1e-6,
      activation: 'swiglu',
      qkvBias: true,
      qkNorm: false,
      maxPositions: withinWindow(
        shared.maxPositions,
        config.use_sliding_window ? config.sliding_window : null,
      ),
    };
  },
  write: (a) => ({ hidden_act: 'silu', rms_norm_eps: a.normEps, use_sliding_window: false }),
};

const qwen3: Family = {
  name: 'Qwen3ForCausalLM',
  modelType: 'qwen3',
  read(config) {
    requireActivation(config, 'silu');
    const shared = common(config, {
      ropeTheta: 10_000,
      maxPositions: 32_768,
      tieEmbeddings: false,
      headDim: 128,
    });
    const bias = config.attention_bias ?? false;
    return {
      ...shared,
      norm: 'rmsnorm',
      normEps: config.rms_norm_eps ?? 1e-6,
      activation: 'swiglu',
      qkvBias: bias,
      outBias: bias,
      qkNorm: true,
      maxPositions: withinWindow(
        shared.maxPositions,
        config.use_sliding_window ? config.sliding_window : null,
      ),
    };
  },
  write: (a) => ({
    hidden_act: 'silu',
    rms_norm_eps: a.normEps,
    attention_bias: a.qkvBias,
    use_sliding_window: false,
  }),
};

const starcoder2: Family = {
  name: 'Starcoder2ForCausalLM',
  modelType: 'starcoder2',
  read(config) {
    requireActivation(config, 'gelu_pytorch_tanh');
    const shared = common(config, { ropeTheta: 10_000, maxPositions: 4096, tieEmbeddings: true });
    const bias = config.use_bias ?? true;
    return {
      ...shared,
      norm: 'layernorm',
      normEps: config.norm_epsilon ?? 1e-5,
      activation: 'gelu_tanh',
      qkvBias: bias,
      outBias: bias,
      mlpBias: bias,
      qkNorm: false,
      maxPositions: withinWindow(shared.maxPositions, config.sliding_window),
    };
  },
  write: (a) => ({
    hidden_act: 'gelu_pytorch_tanh',
    norm_epsilon: a.normEps,
    norm_type: 'layer_norm',
    mlp_type: 'default',
    use_bias: a.qkvBias,
    sliding_window: null,
    embedding_dropout: 0,
    residual_dropout: 0,
  }),
};

export const FAMILIES: ReadonlyMap<string, Family> = new Map(
  [llama, qwen2, qwen3, starcoder2].map((family) => [family.name, family]),
);

/** The family and architecture that a parsed config.json describes; `path` is for messages. */
export function readConfig(config: unknown, path: string): { family: Family; architecture: Architecture } {
  const name = z.looseObject({ architectures: z.array(z.string()).min(1) }).safeParse(config);
  const known = [...FAMILIES.keys()];
  const className = name.success ? name.data.architectures[0]! : '';
  const family = FAMILIES.get(className.replace(CLASSIFIER, CAUSAL));
  if (!family) {
    const found = name.success ? name.data.architectures[0]! : undefined;
    throw new AnnealError(
      'model_invalid',
      found === undefined
        ? `${path} names no architecture.`
        : `${path}: ${found} is not a known architecture.`,
      { path, hint: `${found === undefined ? '' : didYouMean(found, known)}Known: ${known.join(', ')}.` },
    );
  }
  const parsed = configSchema.safeParse(config);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new AnnealError('model_invalid', `${path}: ${issue.path.join('.')}: ${issue.message}.`, { path });
  }
  const architecture = CLASSIFIER.test(className)
    ? withScoreHead(family.read(parsed.data), parsed.data, path)
    : family.read(parsed.data);
  const problem = contradiction(architecture);
  if (problem) throw new AnnealError('model_invalid', `${path}: ${problem.message}.`, { path });
  return { family, architecture };
}

const CLASSIFIER = /ForSequenceClassification$/;
const CAUSAL = 'ForCausalLM';

/** The same decoder with a scalar head; it has no language-model head, so none is read or written. */
export function rewardArchitecture(architecture: Architecture): Architecture {
  return { ...architecture, scoreHead: true, tieEmbeddings: true };
}

function withScoreHead(architecture: Architecture, config: Config, path: string): Architecture {
  // transformers writes the labels' names, and leaves out their number.
  const labels = config.num_labels ?? (config.id2label ? Object.keys(config.id2label).length : 2);
  if (labels === 1) return rewardArchitecture(architecture);
  throw new AnnealError(
    'model_invalid',
    `${path}: the classifier has ${labels} labels; a reward model has one.`,
    {
      path,
      hint: 'Sequence classification with num_labels 1 is loaded as a reward model.',
    },
  );
}

/** The config.json of a model. */
export function writeConfig(
  family: Family,
  architecture: Architecture,
  tokens: {
    bosId: number | undefined;
    eosId: number | undefined;
    /** Of a model with a scalar head: what transformers is to pass over at the end of a padded row. */
    padId?: number | undefined;
    initializerRange: number;
  },
): Record<string, unknown> {
  const a = architecture;
  return {
    architectures: [a.scoreHead ? family.name.replace(CAUSAL, 'ForSequenceClassification') : family.name],
    model_type: family.modelType,
    vocab_size: a.vocabSize,
    hidden_size: a.hiddenSize,
    intermediate_size: a.intermediateSize,
    num_hidden_layers: a.numLayers,
    num_attention_heads: a.numHeads,
    num_key_value_heads: a.numKvHeads,
    head_dim: a.headDim,
    max_position_embeddings: a.maxPositions,
    rope_theta: a.ropeTheta,
    rope_parameters: { rope_type: 'default', rope_theta: a.ropeTheta },
    tie_word_embeddings: a.tieEmbeddings,
    attention_dropout: 0,
    initializer_range: tokens.initializerRange,
    bos_token_id: tokens.bosId ?? null,
    eos_token_id: tokens.eosId ?? null,
    dtype: 'float32',
    torch_dtype: 'float32',
    use_cache: true,
    ...(a.scoreHead
      ? {
          num_labels: 1,
          id2label: { 0: 'LABEL_0' },
          label2id: { LABEL_0: 0 },
          pad_token_id: tokens.padId ?? null,
        }
      : {}),
    ...family.write(a),
  };
}

/** Sizes that cannot go together, with the name of the field that is at fault. */
export function contradiction(
  a: Pick<Architecture, 'numHeads' | 'numKvHeads' | 'headDim'>,
): { field: string; message: string } | undefined {
  if (a.numHeads % a.numKvHeads !== 0) {
    return {
      field: 'num_key_value_heads',
      message: `num_attention_heads (${a.numHeads}) is not a multiple of num_key_value_heads (${a.numKvHeads})`,
    };
  }
  if (a.headDim < 1 || a.headDim % 2 !== 0) {
    return {
      field: 'head_dim',
      message: `the head size (${a.headDim}) is not even, as rotary positions need`,
    };
  }
  return undefined;
}
