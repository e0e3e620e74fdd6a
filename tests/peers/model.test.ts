/**
 * The whole model against transformers and PyTorch: logits, every gradient, and twenty optimiser steps of four
 * families. The reference side is model_reference.py.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Architecture, type Batch, loadAddon } from '../../src/native/addon.ts';
import { architecture } from '../engine/support.ts';

const python = process.env.ANNEAL_PEERS_PYTHON ?? '';

const llama: Architecture = {
  ...architecture,
  vocabSize: 257,
  hiddenSize: 48,
  intermediateSize: 80,
  numKvHeads: 4,
  headDim: 12,
  maxPositions: 64,
};

interface Case {
  name: string;
  family: 'llama' | 'qwen2' | 'qwen3' | 'starcoder2';
  architecture: Architecture;
}

const cases: Case[] = [
  { name: 'Llama, tied', family: 'llama', architecture: llama },
  {
    name: 'Llama, grouped heads 6 to 2, untied',
    family: 'llama',
    architecture: { ...llama, hiddenSize: 60, numHeads: 6, numKvHeads: 2, headDim: 24, tieEmbeddings: false },
  },
  {
    name: 'Llama, one layer, five heads to one, all biases',
    family: 'llama',
    architecture: {
      ...llama,
      hiddenSize: 40,
      numLayers: 1,
      numHeads: 5,
      numKvHeads: 1,
      headDim: 8,
      ropeTheta: 500_000,
      qkvBias: true,
      outBias: true,
      mlpBias: true,
    },
  },
  {
    name: 'Llama, three layers, head size 80',
    family: 'llama',
    architecture: { ...llama, numLayers: 3, numHeads: 2, numKvHeads: 1, headDim: 80 },
  },
  { name: 'Qwen 2', family: 'qwen2', architecture: { ...llama, numKvHeads: 2, qkvBias: true } },
  {
    name: 'Qwen 3',
    family: 'qwen3',
    architecture: { ...llama, numKvHeads: 2, headDim: 16, qkNorm: true, normEps: 1e-6, tieEmbeddings: false },
  },
  {
    name: 'Starcoder 2',
    family: 'starcoder2',
    architecture: {
      ...llama,
      numKvHeads: 2,
      norm: 'layernorm',
      activation: 'gelu_tanh',
      qkvBias: true,
      outBias: true,
      mlpBias: true,
    },
  },
  {
    name: 'Starcoder 2 with the exact GELU',
    family: 'starcoder2',
    architecture: {
      ...llama,
      numKvHeads: 1,
      norm: 'layernorm',
      activation: 'gelu',
      qkvBias: true,
      outBias: true,
      mlpBias: true,
    },
  },
];

/** The same architecture in the words of the family's configuration. */
function config(test: Case): Record<string, unknown> {
  const a = test.architecture;
  const common = {
    vocab_size: a.vocabSize,
    hidden_size: a.hiddenSize,
    intermediate_size: a.intermediateSize,
    num_hidden_layers: a.numLayers,
    num_attention_heads: a.numHeads,
    num_key_value_heads: a.numKvHeads,
    head_dim: a.headDim,
    max_position_embeddings: a.maxPositions,
    rope_parameters: { rope_type: 'default', rope_theta: a.ropeTheta },
    tie_word_embeddings: a.tieEmbeddings,
  };
  if (test.family === 'starcoder2') {
    return {
      ...common,
      norm_epsilon: a.normEps,
      use_bias: true,
      hidden_act: a.activation === 'gelu' ? 'gelu' : 'gelu_pytorch_tanh',
      sliding_window: null,
      residual_dropout: 0,
      embedding_dropout: 0,
      attention_dropout: 0,
    };
  }
  return {
    ...common,
    rms_norm_eps: a.normEps,
    ...(test.family === 'llama' ? { attention_bias: a.qkvBias, mlp_bias: a.mlpBias } : {}),
  };
}

const optimizer = {
  lr: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weight_decay: 0.1,
  max_grad_norm: 1,
  steps: 20,
};

/** Sequences of several lengths, the shortest with one target; ids from a fixed linear recurrence. */
function makeSequences(vocabSize: number): number[][] {
  let state = 12_345;
  const draw = () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor(state / 65_536) % vocabSize;
  };
  return [17, 2, 40, 9].map((length) => Array.from({ length }, draw));
}

/** All next tokens scored, or every row for logits. */
function pack(sequences: number[][], everyRow: boolean): Batch {
  const cuSeqlens = [0];
  const scored: number[] = [];
  const targets: number[] = [];
  for (const ids of sequences) {
    const start = cuSeqlens.at(-1)!;
    for (let i = 0; i < ids.length - (everyRow ? 0 : 1); i++) {
      scored.push(start + i);
      targets.push(everyRow ? 0 : ids[i + 1]!);
    }
    cuSeqlens.push(start + ids.length);
  }
  return {
    tokens: Int32Array.from(sequences.flat()),
    cuSeqlens: Int32Array.from(cuSeqlens),
    scored: Int32Array.from(scored),
    targets: Int32Array.from(targets),
  };
}

function readFloats(path: string): Float32Array {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

function readJson<T>(path: string): T {
  return JSON.parse(readFileSync(path, 'utf8')) as T;
}

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);

/** Length of the difference over the length of the reference. */
function relativeError(actual: Float32Array, reference: Float32Array): number {
  expect(actual.length).toBe(reference.length);
  let difference = 0;
  let size = 0;
  for (let i = 0; i < actual.length; i++) {
    difference += (actual[i]! - reference[i]!) ** 2;
    size += reference[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

describe.skipIf(python === '')('model against transformers', () => {
  const root = mkdtempSync(join(tmpdir(), 'anneal-peers-'));
  const folder = (test: Case) => join(root, String(cases.indexOf(test)));
  afterAll(() => rmSync(root, { recursive: true }));

  beforeAll(() => {
    for (const test of cases) {
      mkdirSync(folder(test));
      const sequences = makeSequences(test.architecture.vocabSize);
      const request = { family: test.family, config: config(test), seed: 7, sequences, optimizer };
      writeFileSync(join(folder(test), 'request.json'), JSON.stringify(request));
    }
    execFileSync(python, [join(import.meta.dirname, 'model_reference.py'), ...cases.map(folder)], {
      env: { ...process.env, OMP_NUM_THREADS: '1', HF_HUB_OFFLINE: '1', TRANSFORMERS_VERBOSITY: 'error' },
    });
  }, 300_000);

  it.each(cases)('$name', async (test) => {
    const sequences = makeSequences(test.architecture.vocabSize);
    const index = readJson<{ name: string; shape: number[] }[]>(join(folder(test), 'index.json'));
    const rows = sequences.flat().length;
    const session = await loadAddon().createSession({
      architecture: test.architecture,
      threads: 2,
      trainable: true,
      maxTokens: rows,
      maxSequences: sequences.length,
      maxScored: rows,
      recompute: false,
      generationSlots: 0,
      generationLength: 0,
    });
    expect(session.tensors().sort(byName)).toEqual([...index].sort(byName));
    const offsets = new Map<string, number>();
    let size = 0;
    for (const { name, shape } of index) {
      offsets.set(name, size);
      size += shape.reduce((a, b) => a * b, 1);
    }
    const path = join(folder(test), 'weights.bin');
    await session.importTensors(
      [...offsets].map(([name, at]) => ({ name, path, offset: 4 * at, dtype: 'F32' })),
    );

    const compare = async (what: 'weight' | 'gradient', file: string) => {
      const reference = readFloats(join(folder(test), file));
      for (const [name, at] of offsets) {
        const actual = await session.readTensor(name, what);
        const error = relativeError(actual, reference.subarray(at, at + actual.length));
        expect(error, `${what} of ${name}`).toBeLessThan(1e-4);
      }
    };

    const logits = await session.logits(pack(sequences, true));
    expect(relativeError(logits, readFloats(join(folder(test), 'logits.bin')))).toBeLessThan(1e-4);

    const batch = pack(sequences, false);
    const weights = new Float32Array(batch.scored.length).fill(1 / batch.scored.length);
    const steps = readJson<{ loss: number; gradNorm: number }[]>(join(folder(test), 'losses.json'));
    for (const [i, expected] of steps.entries()) {
      const scores = await session.forwardBackward(batch, weights);
      if (i === 0) await compare('gradient', 'gradients.bin');
      const loss = -scores.logProbs.reduce((sum, value, n) => sum + value * weights[n]!, 0);
      expect(Math.abs(loss / expected.loss - 1), `loss of step ${i + 1}`).toBeLessThan(1e-4);
      const { gradNorm, applied } = await session.step({
        learningRate: optimizer.lr,
        beta1: optimizer.beta1,
        beta2: optimizer.beta2,
        epsilon: optimizer.eps,
        weightDecay: optimizer.weight_decay,
        maxGradNorm: optimizer.max_grad_norm,
        step: i + 1,
      });
      expect(applied).toBe(true);
      expect(Math.abs(gradNorm / expected.gradNorm - 1), `gradient norm of step ${i + 1}`).toBeLessThan(1e-3);
    }
    expect(steps.length).toBe(optimizer.steps);
    await compare('weight', 'trained.bin');
    await session.close();
  });
});
