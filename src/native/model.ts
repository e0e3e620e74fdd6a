/**
 * A session's model: its architecture and adapters, what else decides its size, its tensors and where they come from.
 */

/** One decoder covers the families by these fields. */
export interface Architecture {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  numLayers: number;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  norm: 'rmsnorm' | 'layernorm';
  normEps: number;
  /** `swiglu`: down(silu(gate(x)) * up(x)); the others: down(act(up(x))). `gelu` is exact (erf). */
  activation: 'swiglu' | 'gelu' | 'gelu_tanh';
  ropeTheta: number;
  qkvBias: boolean;
  outBias: boolean;
  mlpBias: boolean;
  /** RMSNorm over each query and key head, before the rotation (Qwen 3). */
  qkNorm: boolean;
  tieEmbeddings: boolean;
  /** A scalar head over the final hidden state, `score.weight` [1, hiddenSize]: reward and value models. Absent: none. */
  scoreHead?: boolean;
  maxPositions: number;
}

/**
 * A small set of weights over the frozen base: low-rank updates (Hu et al. 2021; rsLoRA and DoRA by their fields),
 * copies of whole tensors that it trains instead of the base's, a scalar head. Tensors carry PEFT's names without its
 * `base_model.model.` prefix: `model.layers.0.self_attn.q_proj.lora_A.weight`, `...lora_B.weight`,
 * `...lora_magnitude_vector`; an embedding's are `...lora_embedding_A` [rank, vocabSize] and `...lora_embedding_B`.
 * Those that stand for the base's carry the base's names. DoRA is for the layers' matrices; with dropout, what it
 * scales is of the dropped input, W included, as in PEFT. A copy of tied embeddings serves both ends of the model.
 */
export interface AdapterOptions {
  /** Low-rank updates: y += scale * B A dropout(x), by the name of a matrix without `.weight`. */
  modules: { name: string; rank: number; scale: number; dropout: number; dora: boolean }[];
  /** Tensors of the base that the adapter has an own copy of (`modules_to_save`, biases). */
  replaces: string[];
  /** It has a scalar head of its own. Absent: no. */
  scoreHead?: boolean;
  trainable: boolean;
}

/**
 * How a new adapter begins (PEFT's `init_lora_weights`): `default`: A uniform (He et al. 2015, a = sqrt(5)), B zero;
 * `gaussian`: A normal with a deviation of 1 / rank, B zero; `random`: both uniform as `default`'s A; `pissa`: the
 * principal singular directions of the base's weight, which are taken out of it (Meng et al. 2024). Magnitudes are the
 * lengths of the rows; what the adapter replaces begins as the base's, a scalar head normal.
 */
export type AdapterInit = 'default' | 'gaussian' | 'random' | 'pissa';

export type OptimizerName = 'adamw' | 'adamw_8bit' | 'lion' | 'muon' | 'adafactor' | 'sgd';

export interface SessionOptions {
  architecture: Architecture;
  threads: number;
  /** Whether the base's own weights are trained; false: no gradients and no optimiser state for them. */
  trainable: boolean;
  /** Adapters over the base, by index; a pass names the one that it uses. Absent: none. */
  adapters?: AdapterOptions[];
  /** Decides the optimiser's state. Absent: AdamW. */
  optimizer?: OptimizerName;
  /** The largest microbatch; everything is reserved for it before the first call. */
  maxTokens: number;
  maxSequences: number;
  maxScored: number;
  /** Targets of a microbatch, where rows have several (`targetsPerRow`). Absent: maxScored. */
  maxTargets?: number;
  /** Keep only each layer's input and compute the rest again in backward. */
  recompute: boolean;
  /**
   * Keep the logits of scored rows from a forward to its backward, up to 256 MiB of them, instead of computing them
   * again: for losses that are known only after the forward. The numbers are the same. Absent: false.
   */
  keepLogits?: boolean;
  /** Samples that are generated side by side, and rows (prompt and answer) of the longest. 0: no generation. */
  generationSlots: number;
  generationLength: number;
  /**
   * Rows that the key/value cache holds in all, in pages of 16; a prompt that samples share is held once. With too
   * few for all slots, samples wait for each other. Absent: generationSlots * generationLength.
   */
  generationRows?: number;
}

/** Bytes that a session with these options reserves, and its work. */
export interface SessionPlan {
  parameters: number;
  weights: number;
  gradients: number;
  optimizer: number;
  activations: number;
  workspace: number;
  kvCache: number;
  snapshot: number;
  total: number;
  /** Floating-point operations of one forward and backward for a token of a full microbatch. */
  trainFlopsPerToken: number;
}

export interface TensorInfo {
  /** Hugging Face name in the Llama layout, e.g. `model.layers.0.self_attn.q_proj.weight`. */
  name: string;
  shape: number[];
}

/** Where to read a tensor from: raw little-endian values at a byte offset of a file. */
export interface TensorSource {
  name: string;
  path: string;
  offset: number;
  dtype: 'F32' | 'F16' | 'BF16';
}
