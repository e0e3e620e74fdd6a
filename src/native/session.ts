/** The calls of one engine. */
import type { Batch, ParameterGroup, ScoreGradients, Scores, StepOptions, StepResult } from './batch.ts';
import type { Completion, GenerationRequest, GenerationUpdates } from './generation.ts';
import type { Generations } from './generations.ts';
import type { AdapterInit, AdapterOptions, SessionPlan, TensorInfo, TensorSource } from './model.ts';

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

  /** Asked for again before its backward, with no other pass or change of weights between, it costs nothing. */
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
