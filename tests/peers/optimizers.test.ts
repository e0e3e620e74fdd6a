/**
 * Twenty steps of each optimiser on a small Llama against torch.optim (Lion and 8-bit AdamW: an independent statement
 * of their papers), with the step options and groups that a recipe gives. The reference side is
 * optimizers_reference.py.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type Architecture, type Batch, loadAddon } from '../../src/native/addon.ts';
import {
  type OptimizerSettings,
  optimizerFields,
  parameterGroups,
  stepOptions,
} from '../../src/training/optimizer.ts';
import { architecture as small } from '../engine/support.ts';

const python = process.env.ANNEAL_PEERS_PYTHON ?? '';
const STEPS = 20;

/** Wide enough that the feed-forward matrices are kept in 8 bits, with a block that is not full. */
const architecture: Architecture = {
  ...small,
  vocabSize: 131,
  hiddenSize: 44,
  intermediateSize: 100,
  headDim: 12,
  tieEmbeddings: false,
  maxPositions: 64,
};

const config = {
  vocab_size: architecture.vocabSize,
  hidden_size: architecture.hiddenSize,
  intermediate_size: architecture.intermediateSize,
  num_hidden_layers: architecture.numLayers,
  num_attention_heads: architecture.numHeads,
  num_key_value_heads: architecture.numKvHeads,
  head_dim: architecture.headDim,
  max_position_embeddings: architecture.maxPositions,
  rope_parameters: { rope_type: 'default', rope_theta: architecture.ropeTheta },
  tie_word_embeddings: false,
  rms_norm_eps: architecture.normEps,
};

interface Case {
  name: string;
  recipe: z.input<typeof settingsSchema>;
  rate: number;
  /** Of the trained weights: length of the difference over the length of the way that they went. */
  tolerance: number;
}

const settingsSchema = z.strictObject(optimizerFields({ adam_beta2: 0.95, weight_decay: 0.1 }));

const cases: Case[] = [
  { name: 'AdamW', recipe: {}, rate: 1e-3, tolerance: 1e-4 },
  {
    name: 'AdamW, learning rates by tensor',
    recipe: { learning_rates: { 'layers\\.0\\.': 0.5, '^lm_head': 0, norm: 3 } },
    rate: 1e-3,
    tolerance: 1e-4,
  },
  // A number near the border of two codes may go either way.
  { name: 'AdamW with 8-bit states', recipe: { optim: 'adamw_8bit' }, rate: 1e-3, tolerance: 1e-2 },
  { name: 'SGD', recipe: { optim: 'sgd' }, rate: 0.05, tolerance: 1e-4 },
  {
    name: 'SGD, Nesterov',
    recipe: { optim: 'sgd', nesterov: true, momentum: 0.8 },
    rate: 0.05,
    tolerance: 1e-4,
  },
  // A direction near zero may get either sign.
  { name: 'Lion', recipe: { optim: 'lion' }, rate: 2e-4, tolerance: 1e-2 },
  { name: 'Adafactor', recipe: { optim: 'adafactor' }, rate: 0.01, tolerance: 1e-4 },
  { name: 'Muon', recipe: { optim: 'muon' }, rate: 2e-3, tolerance: 1e-4 },
  {
    name: 'Muon as published',
    recipe: { optim: 'muon', muon_adjust_lr: 'original', nesterov: false, momentum: 0.9 },
    rate: 5e-3,
    tolerance: 1e-4,
  },
];

/** The settings in torch's words. */
function request(test: Case, settings: OptimizerSettings, factors: Record<string, number>) {
  const step = stepOptions(settings, test.rate, 1);
  return {
    name: settings.optim,
    lr: test.rate,
    factors,
    weight_decay: step.weightDecay,
    max_grad_norm: step.maxGradNorm,
    steps: STEPS,
    beta1: step.beta1,
    beta2: step.beta2,
    eps: step.epsilon,
    momentum: step.momentum,
    nesterov: step.nesterov,
    adjust_lr: step.matchRmsAdamw ? 'match_rms_adamw' : 'original',
    beta2_decay: step.beta2Decay,
    clip_threshold: step.clipThreshold,
  };
}

/** Ids from a fixed linear recurrence. */
function makeSequences(): number[][] {
  let state = 12_345;
  const draw = () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor(state / 65_536) % architecture.vocabSize;
  };
  return [17, 2, 40, 9].map((length) => Array.from({ length }, draw));
}

function pack(sequences: number[][]): Batch {
  const cuSeqlens = [0];
  const scored: number[] = [];
  const targets: number[] = [];
  for (const ids of sequences) {
    const start = cuSeqlens.at(-1)!;
    for (let i = 0; i + 1 < ids.length; i++) {
      scored.push(start + i);
      targets.push(ids[i + 1]!);
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

function makeSession(optimizer: OptimizerSettings['optim'], rows: number) {
  return loadAddon().createSession({
    architecture,
    optimizer,
    threads: 2,
    trainable: true,
    maxTokens: rows,
    maxSequences: 4,
    maxScored: rows,
    recompute: false,
    generationSlots: 0,
    generationLength: 0,
  });
}

function readFloats(path: string): Float32Array {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

function length(values: Float32Array, from: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value, i) => sum + (value - from[i]!) ** 2, 0));
}

describe.skipIf(python === '')('optimisers against PyTorch', () => {
  const root = mkdtempSync(join(tmpdir(), 'anneal-optimizers-'));
  const folder = (test: Case) => join(root, String(cases.indexOf(test)));
  const sequences = makeSequences();
  const batch = pack(sequences);
  afterAll(() => rmSync(root, { recursive: true }));

  beforeAll(async () => {
    const session = await makeSession('adamw', batch.tokens.length);
    const tensors = session.tensors();
    await session.close();
    for (const test of cases) {
      mkdirSync(folder(test));
      const settings = settingsSchema.parse(test.recipe);
      const factors = Object.fromEntries(
        parameterGroups(settings, tensors, 'test').flatMap(({ names, learningRateFactor }) =>
          names.map((name) => [name, learningRateFactor!]),
        ),
      );
      const optimizer = request(test, settings, factors);
      const asked = { family: 'llama', config, seed: 7, sequences, optimizer };
      writeFileSync(join(folder(test), 'request.json'), JSON.stringify(asked));
    }
    execFileSync(python, [join(import.meta.dirname, 'optimizers_reference.py'), ...cases.map(folder)], {
      env: { ...process.env, OMP_NUM_THREADS: '1', HF_HUB_OFFLINE: '1', TRANSFORMERS_VERBOSITY: 'error' },
    });
  }, 300_000);

  it.each(cases)('$name', async (test) => {
    const settings = settingsSchema.parse(test.recipe);
    const index = JSON.parse(readFileSync(join(folder(test), 'index.json'), 'utf8')) as {
      name: string;
      shape: number[];
    }[];
    const session = await makeSession(settings.optim, batch.tokens.length);
    const path = join(folder(test), 'weights.bin');
    let at = 0;
    const places = index.map(({ name, shape }) => {
      const place = { name, at, size: shape.reduce((a, b) => a * b, 1) };
      at += place.size;
      return place;
    });
    await session.importTensors(
      places.map((place) => ({ name: place.name, path, offset: 4 * place.at, dtype: 'F32' })),
    );
    await session.setParameterGroups(parameterGroups(settings, session.tensors(), 'test'));

    const weights = new Float32Array(batch.scored.length).fill(1 / batch.scored.length);
    const losses = JSON.parse(readFileSync(join(folder(test), 'losses.json'), 'utf8')) as number[];
    expect(losses.length).toBe(STEPS);
    expect(losses.at(-1)).toBeLessThan(losses[0]! - 0.2);
    for (const [i, expected] of losses.entries()) {
      const scores = await session.forwardBackward(batch, weights);
      const loss = -scores.logProbs.reduce((sum, value, n) => sum + value * weights[n]!, 0);
      expect(Math.abs(loss / expected - 1), `loss of step ${i + 1}`).toBeLessThan(test.tolerance);
      expect((await session.step(stepOptions(settings, test.rate, i + 1))).applied).toBe(true);
    }
    const start = readFloats(path);
    const trained = readFloats(join(folder(test), 'trained.bin'));
    for (const { name, at: from, size } of places) {
      const actual = await session.readTensor(name, 'weight');
      const expected = trained.subarray(from, from + size);
      const way = length(expected, start.subarray(from, from + size));
      const difference = length(actual, expected);
      expect(difference, name).toBeLessThanOrEqual(test.tolerance * way);
    }
    await session.close();
  });
});
