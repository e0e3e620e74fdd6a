/**
 * Everything that the native addon offers, in one place, and its loader.
 *
 * Native does bounded things on flat arrays; TypeScript owns options, defaults, loops and messages. Every call
 * that computes returns a promise and runs on the session's engine thread, in the order of the calls. Sizes are
 * in elements unless the name says bytes; token ids and indices are int32, numbers float32.
 *
 * An error has a `code`: `invalid_argument` (nothing was changed), `closed` (the session was closed), a code of
 * proto/errors.ts (`model_invalid`, `artifact_corrupt`, `file_unreadable`, `out_of_memory`, `cancelled`), or the name
 * of the system's error (`ENOSPC`). A file that could not be written whole is removed.
 */
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Generations } from './generations.ts';

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
 * Those that stand for the base's carry the base's names. DoRA is for the layers' matrices; with dropout, only the
 * update's input is dropped. A copy of tied embeddings serves both ends of the model.
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

/** A packed batch: see DESIGN section 4. */
export interface Batch {
  tokens: Int32Array;
  /** [S + 1] */
  cuSeqlens: Int32Array;
  /** [S], -1 or an earlier sequence of this batch. Absent: no prefixes. */
  prefix?: Int32Array;
  /** Rows of `tokens` whose next-token distribution is scored; a row may occur more than once. */
  scored: Int32Array;
  /** Target ids of the scored rows, [N] or [N, targetsPerRow]; not read where `outputs` is `values`. */
  targets: Int32Array;
  /** Absent: 1. */
  targetsPerRow?: number;
  /** The adapter whose weights the pass uses; absent: the base alone. */
  adapter?: number;
  /** What is computed at the scored rows; absent: `tokens`. With `values` alone the language-model head is not run. */
  outputs?: 'tokens' | 'values' | 'both';
  /** Logits are divided by it before the softmax; absent: 1. */
  temperature?: number;
  /** Up to 2^53: decides, with module, row and column, what the adapter's dropout drops. Absent: no dropout. */
  dropoutSeed?: number;
}

/** Numbers at the scored rows; arrays of what was not asked for are empty. */
export interface Scores {
  /** [N] or [N, targetsPerRow] */
  logProbs: Float32Array;
  /** [N], in nats; logZ likewise. */
  entropies: Float32Array;
  logZ: Float32Array;
  /** [N], of the scalar head. */
  values: Float32Array;
  // The following have no gradient.
  /** [N] or [N, targetsPerRow]: 1 where the target is the most likely token (of equals the smallest id), else 0. */
  hits: Float32Array;
  /** [N]: mean over the vocabulary of the logits, divided by the temperature. */
  meanLogits: Float32Array;
  /** [N]: log of the sum of the squared probabilities, the log-probability that two draws agree. */
  logSumSquares: Float32Array;
}

/** The loss's gradient with respect to the numbers of `Scores`; absent: zeros. */
export interface ScoreGradients {
  logProbs?: Float32Array;
  entropies?: Float32Array;
  logZ?: Float32Array;
  values?: Float32Array;
}

/** The optional fields are required by the optimisers that are named beside them, and not read by the others. */
export interface StepOptions {
  learningRate: number;
  /** Decoupled (SGD: added to the gradient). On matrices only; vectors (norms, biases) are never decayed. */
  weightDecay: number;
  /** Global norm; 0: no clipping. */
  maxGradNorm: number;
  /** Optimiser step, from 1: bias correction. */
  step: number;
  /** The parameter set that is stepped: an adapter; absent: the base. */
  adapter?: number;
  /** adamw, adamw_8bit, lion; muon for what it leaves to AdamW: vectors, embeddings, heads. */
  beta1?: number;
  beta2?: number;
  /** The same without lion. */
  epsilon?: number;
  /** sgd, muon */
  momentum?: number;
  nesterov?: boolean;
  /**
   * muon: updates of a matrix times 0.2 sqrt(max(rows, columns)), which is the size of AdamW's (Liu et al. 2025);
   * false: times sqrt(max(1, rows / columns)) (Jordan et al. 2024).
   */
  matchRmsAdamw?: boolean;
  /** adafactor: 1 - beta2 is step^beta2Decay; updates are clipped to this root mean square. */
  beta2Decay?: number;
  clipThreshold?: number;
}

/** Tensors with factors of their own on the step's learning rate and decay; absent: 1. */
export interface ParameterGroup {
  names: string[];
  learningRateFactor?: number;
  weightDecayFactor?: number;
}

export interface StepResult {
  /** Before clipping. */
  gradNorm: number;
  /** false: the norm was not finite; weights and state are as before, gradients are cleared. */
  applied: boolean;
}

export interface SamplingOptions {
  maxNewTokens: number;
  /** 0: greedy. */
  temperature: number;
  /** 0: off. */
  topK: number;
  /** 1: off. */
  topP: number;
  /** 0: off. */
  minP: number;
  /** 1: off (Keskar et al. 2019, over prompt and answer as transformers does). */
  repetitionPenalty: number;
  /** Up to 2^53; random numbers depend on seed, number of the sample and position only. */
  seed: number;
  stopTokens: Int32Array;
}

/** Several samples of one prompt, whose keys and values are computed and held once. */
export interface GenerationRequest {
  prompt: Int32Array;
  samples: number;
  sampling: SamplingOptions;
  /** The adapter whose weights draw; absent: the base alone. */
  adapter?: number;
  /** What the text must match; the session needs its vocabulary (`setVocabulary`). */
  constraint?: Constraint;
}

/** A deterministic automaton over the bytes of an answer; each state leads to an accepting one. */
export interface Constraint {
  /** [states, 256], -1: none. State 0 is the start. */
  transitions: Int32Array;
  /** [states]: the answer may end here. Stop tokens are allowed in these states only. */
  accepting: Uint8Array;
}

export interface Completion {
  /** New tokens, the stop token included if one ended it. */
  tokens: Int32Array;
  /** Log-probability of each: of softmax(logits / temperature) (temperature 0: of the logits), without filters. */
  logProbs: Float32Array;
  finish: 'stop' | 'length' | 'cancelled';
}

/** What happened to samples since the last call, in order, an array for each field. */
export interface GenerationUpdates {
  requests: Int32Array;
  samples: Int32Array;
  /** -1: none was drawn, the sample has only ended. */
  tokens: Int32Array;
  logProbs: Float32Array;
  /** -1: goes on; else it has ended: 0 stop, 1 length, 2 cancelled. */
  finishes: Int32Array;
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

/**
 * How a new adapter begins (PEFT's `init_lora_weights`): `default`: A uniform (He et al. 2015, a = sqrt(5)), B zero;
 * `gaussian`: A normal with a deviation of 1 / rank, B zero; `random`: both uniform as `default`'s A; `pissa`: the
 * principal singular directions of the base's weight, which are taken out of it (Meng et al. 2024). Magnitudes are the
 * lengths of the rows; what the adapter replaces begins as the base's, a scalar head normal.
 */
export type AdapterInit = 'default' | 'gaussian' | 'random' | 'pissa';

/**
 * One engine: a model, its gradients, its optimiser state and its thread. Methods that take `adapter` mean the
 * tensors of that adapter, and those of the base where it is absent.
 */
export interface Session {
  tensors(adapter?: number): TensorInfo[];
  plan(): SessionPlan;
  /**
   * Adds a frozen adapter, of zeros until it is filled, to a session in which nothing is trained; gives its index.
   * Generations under way go on.
   */
  addAdapter(options: AdapterOptions): Promise<number>;
  /** Normal(0, std) for matrices (residual outputs scaled by 1/sqrt(2 layers)), ones and zeros for vectors. */
  initWeights(seed: number, std: number): Promise<void>;
  /**
   * Fills an adapter from the weights that the base has now; the same seed gives the same bits. With `pissa` the base
   * changes: done again from the original base after a restart, it gives both as they were.
   */
  initAdapter(adapter: number, options: { seed: number; kind: AdapterInit }): Promise<void>;
  /** Adds an adapter to the base's weights, in double precision. */
  mergeAdapter(adapter: number): Promise<void>;
  importTensors(sources: TensorSource[], adapter?: number): Promise<void>;
  /** Writes `header` then the tensors in the order given as float32, fsyncs; returns CRC-32C of the file. */
  exportTensors(
    path: string,
    header: Uint8Array,
    names: string[],
    adapter?: number,
  ): Promise<{ bytes: number; crc32c: number }>;
  /** Copies one tensor (or its accumulated gradient) out: for tests and inspection. */
  readTensor(name: string, what: 'weight' | 'gradient', adapter?: number): Promise<Float32Array>;

  forward(batch: Batch): Promise<Scores>;
  /**
   * Gradient of the last forward, added to what is accumulated. Once, and before any other pass. Gradients of numbers
   * that the forward did not compute are an error.
   */
  backward(gradients: ScoreGradients): Promise<void>;
  /** loss = -sum(weights * logProbs), [N] or [N, targetsPerRow]; gradients are added to what is accumulated. */
  forwardBackward(batch: Batch, weights: Float32Array): Promise<Scores>;
  step(options: StepOptions): Promise<StepResult>;
  /** All other tensors get 1. No part of a snapshot: to be set again after a restart. */
  setParameterGroups(groups: ParameterGroup[], adapter?: number): Promise<void>;
  /** Drops the accumulated gradients of base and adapters. */
  clearGradients(): Promise<void>;
  /** Full logits [scored, V] of a forward, not divided by the temperature: for tests and small inspection only. */
  logits(batch: Batch): Promise<Float32Array>;
  /** The k most likely tokens of each scored row, best first, [N, k]; `targets` are not read. */
  topLogProbs(batch: Batch, k: number): Promise<{ ids: Int32Array; logProbs: Float32Array }>;

  /**
   * Completes the requests, in the order of requests and samples; `onToken` is told of tokens as they are drawn.
   * Aborting `signal` ends with finish 'cancelled'. A request gives the same tokens and the same log-probs to the bit
   * whatever else is generated.
   */
  generate(
    requests: GenerationRequest[],
    onToken?: (request: number, sample: number, token: number) => void,
    signal?: AbortSignal,
  ): Promise<Completion[]>;
  /** Generation for those that decide when a pass is made; `generate` is written over it. */
  readonly generations: Generations;
  /** The bytes of each token, for constraints: those of token i are [ends[i - 1], ends[i]); none for special ones. */
  setVocabulary(vocabulary: { bytes: Uint8Array; ends: Int32Array }): void;

  // For `generations` alone, which knows whose update is whose.
  submitGeneration(request: GenerationRequest): number;
  /** One pass: some rows of prompts, a token of each sample that is decoding. Gives up a forward that waits. */
  advanceGenerations(): Promise<GenerationUpdates>;
  /** It ends with the next pass. */
  cancelGeneration(id: number): void;

  /** Copies what is trained aside, in memory: weights, optimiser state and accumulated gradients of base or adapters. */
  snapshot(): Promise<void>;
  /** Goes back to the last snapshot. */
  restoreSnapshot(): Promise<void>;
  /** Writes the last snapshot to a file (and fsyncs) on a thread of its own while training goes on. */
  writeSnapshot(path: string): Promise<{ bytes: number; crc32c: number }>;
  /** Reads what writeSnapshot wrote into weights, state and gradients (and as the last snapshot). */
  readSnapshot(path: string): Promise<void>;
  /** Frees everything. Calls under way or waiting are rejected with `closed`; so are later ones. */
  close(): Promise<void>;
}

export type SplitPattern = 'gpt2' | 'cl100k' | 'llama3';

export interface BpeTrainer {
  /** Counts the words of these documents (UTF-8, invalid bytes are taken as bytes). */
  feed(documents: Uint8Array[]): Promise<void>;
  /** Merges as pairs of ids: 0..255 are bytes in GPT-2's printable order, 256 + i is merge i's result. */
  train(options: { merges: number; minFrequency: number; signal?: AbortSignal }): Promise<Int32Array>;
}

export interface BpeEncoder {
  /** Encodes plain text (special tokens are not looked for) to ids. */
  encode(text: Uint8Array): Int32Array;
  /** Many documents on all threads, off the event loop: ids end to end, and their ends. */
  encodeBatch(documents: Uint8Array[]): Promise<{ ids: Int32Array; ends: Float64Array }>;
}

export interface MachineInfo {
  simd: 'avx512' | 'avx2' | 'baseline';
  blas: string;
}

export interface Addon {
  createSession(options: SessionOptions): Promise<Session>;
  /** The same sizing code, without reserving anything. */
  planSession(options: SessionOptions): SessionPlan;
  createBpeTrainer(options: { pattern: SplitPattern; threads: number }): BpeTrainer;
  /** `merges` as BpeTrainer gives them; `ids[i]` is the vocabulary id of unit i (256 bytes, then merges). */
  createBpeEncoder(options: {
    pattern: SplitPattern;
    merges: Int32Array;
    ids: Int32Array;
    threads: number;
  }): BpeEncoder;
  machineInfo(): MachineInfo;
  /** Measures the speed of matrix products, in FLOP/s: the fastest of some large ones. */
  measureMatrixSpeed(threads: number): Promise<number>;
  /** CRC-32C of a file, computed off the event loop. */
  crc32cFile(path: string): Promise<number>;
}

let loaded: Addon | undefined;

/** Loads the binary once. Only the worker and the tests may call this. */
export function loadAddon(): Addon {
  if (!loaded) {
    setLibraryDefaults();
    const native = createRequire(import.meta.url)(addonPath()) as Addon;
    loaded = {
      ...native,
      createSession: async (options) => withGeneration(await native.createSession(options)),
    };
  }
  return loaded;
}

/** A session is a native object: what TypeScript adds to it becomes its properties. */
function withGeneration(session: Session): Session {
  const generations = new Generations(session);
  const generate: Session['generate'] = (...args) => generations.generate(...args);
  return Object.assign(session, { generations, generate });
}

/**
 * Both libraries read their variables when they are loaded; a user's own settings stay.
 *
 * OpenBLAS 0.3.21 takes AMD's cores with AVX-512 for Intel's Cooper Lake, whose kernels are up to a tenth slower
 * there than its AVX2 ones, and less steady. OpenMP threads that wait must do so asleep: spinning ones take the
 * cores from everything else that runs, and with more threads than free cores a barrier then lasts a time slice.
 */
function setLibraryDefaults(): void {
  if (/AMD/.test(cpus()[0]?.model ?? '')) process.env.OPENBLAS_CORETYPE ??= 'Haswell';
  process.env.OMP_WAIT_POLICY ??= 'passive';
}

/** The binary: both src/native (tests run the sources) and dist/src/native (built) find the one build folder. */
export function addonPath(): string {
  const root = import.meta.dirname.endsWith('/dist/src/native') ? '../../..' : '../..';
  return join(import.meta.dirname, root, 'build/Release/anneal.node');
}
