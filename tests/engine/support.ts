/** A small model and batches for the tests of the addon. */
import type {
  Architecture,
  Batch,
  GenerationRequest,
  SamplingOptions,
  SessionOptions,
} from '../../src/native/addon.ts';

export const architecture: Architecture = {
  vocabSize: 61,
  hiddenSize: 32,
  intermediateSize: 48,
  numLayers: 2,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 8,
  norm: 'rmsnorm',
  normEps: 1e-5,
  activation: 'swiglu',
  ropeTheta: 10_000,
  qkvBias: false,
  outBias: false,
  mlpBias: false,
  qkNorm: false,
  tieEmbeddings: true,
  maxPositions: 4096,
};

export function sessionOptions(changes: Partial<SessionOptions> = {}): SessionOptions {
  return {
    architecture,
    threads: 1,
    trainable: true,
    maxTokens: 64,
    maxSequences: 4,
    maxScored: 64,
    recompute: false,
    generationSlots: 2,
    generationLength: 4096,
    ...changes,
  };
}

/** Two sequences whose next tokens are scored; `variant` changes the ids. */
export function makeBatch(variant = 0): Batch {
  const ids = (length: number, step: number) =>
    Array.from({ length }, (_, i) => (i * step + variant * 7 + 3) % architecture.vocabSize);
  const sequences = [ids(20, 5), ids(11, 17)];
  const scored: number[] = [];
  const targets: number[] = [];
  const cuSeqlens = [0];
  for (const sequence of sequences) {
    const start = cuSeqlens.at(-1)!;
    for (let i = 0; i + 1 < sequence.length; i++) {
      scored.push(start + i);
      targets.push(sequence[i + 1]!);
    }
    cuSeqlens.push(start + sequence.length);
  }
  return {
    tokens: Int32Array.from(sequences.flat()),
    cuSeqlens: Int32Array.from(cuSeqlens),
    scored: Int32Array.from(scored),
    targets: Int32Array.from(targets),
  };
}

export function meanWeights(batch: Batch): Float32Array {
  return new Float32Array(batch.scored.length).fill(1 / batch.scored.length);
}

export function stepOptions(step: number) {
  return {
    learningRate: 1e-2,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weightDecay: 0.1,
    maxGradNorm: 1,
    step,
  };
}

export function sampling(changes: Partial<SamplingOptions> = {}): SamplingOptions {
  return {
    maxNewTokens: 8,
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    seed: 1,
    stopTokens: new Int32Array(),
    ...changes,
  };
}

/** One sample of each prompt. */
export function requests(prompts: Int32Array[], options: SamplingOptions = sampling()): GenerationRequest[] {
  return prompts.map((prompt) => ({ prompt, samples: 1, sampling: options }));
}
