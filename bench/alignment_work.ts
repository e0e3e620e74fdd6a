/**
 * The work of the alignment benchmarks, drawn from a seed: models, and ids that both sides read from one file. Lengths
 * of prompts and answers vary as in real data; only real tokens are counted, never padding.
 */
import { DataRandom } from '../src/data/random.ts';
import { type BenchModel, M15, M110 } from './model.ts';

/** Ids 0 and 1 are padding and end of sequence; the others are words. */
export const EOS = 1;

export interface Pair {
  prompt: number[];
  chosen: number[];
  rejected: number[];
}

/** What one step (one call) does; `pairs` and `prompts` are gone through in order, again and again. */
export type Work = { name: string; model: BenchModel; goal: number } & (
  | { task: 'dpo'; pairs: Pair[]; batch: number }
  | { task: 'grpo'; prompts: number[][]; batch: number; samples: number; newTokens: number }
  | { task: 'lora'; sequences: number; length: number; rank: number }
  | { task: 'generate'; prompts: number[][]; samples: number; newTokens: number }
);

class Draw {
  readonly #random: DataRandom;
  readonly #vocabulary: number;

  constructor(name: string, model: BenchModel) {
    this.#random = new DataRandom('bench', name);
    this.#vocabulary = model.vocab_size;
  }

  /** Words, as many as a number between `low` and `high` says. */
  words(low: number, high: number): number[] {
    const length = low + (this.#random.next() % (high - low + 1));
    return Array.from({ length }, () => 2 + (this.#random.next() % (this.#vocabulary - 2)));
  }
}

/** Pairs of 128 tokens on average in the prompt and in each answer. */
function dpo(name: string, model: BenchModel, batch: number, goal: number): Work {
  const draw = new Draw(name, model);
  const pairs = Array.from({ length: 8 * batch }, () => ({
    prompt: draw.words(64, 192),
    chosen: [...draw.words(63, 191), EOS],
    rejected: [...draw.words(63, 191), EOS],
  }));
  return { name, model, goal, task: 'dpo', pairs, batch };
}

function prompts(name: string, model: BenchModel, count: number): number[][] {
  const draw = new Draw(name, model);
  return Array.from({ length: count }, () => draw.words(32, 96));
}

/** Every benchmark by its name. */
export const WORKS: Readonly<Record<string, () => Work>> = {
  'dpo-15m': () => dpo('dpo-15m', M15, 4, 4),
  'dpo-110m': () => dpo('dpo-110m', M110, 4, 2.5),
  'grpo-15m': () => ({
    name: 'grpo-15m',
    model: M15,
    goal: 4,
    task: 'grpo',
    prompts: prompts('grpo-15m', M15, 32),
    batch: 4,
    samples: 8,
    newTokens: 64,
  }),
  'lora-110m': () => ({
    name: 'lora-110m',
    model: M110,
    goal: 1.3,
    task: 'lora',
    sequences: 4,
    length: 512,
    rank: 16,
  }),
  'generate-15m': () => ({
    name: 'generate-15m',
    model: M15,
    goal: 3,
    task: 'generate',
    prompts: prompts('generate-15m', M15, 64),
    samples: 8,
    newTokens: 64,
  }),
  'generate-110m': () => ({
    name: 'generate-110m',
    model: M110,
    goal: 3,
    task: 'generate',
    prompts: prompts('generate-110m', M110, 64),
    samples: 8,
    newTokens: 16,
  }),
};

/** Real tokens of a step on average: read and written, each as often as a model reads it without sharing. */
export function realTokens(work: Work): number {
  const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);
  switch (work.task) {
    case 'dpo': {
      const all = work.pairs.map(
        ({ prompt, chosen, rejected }) => 2 * prompt.length + chosen.length + rejected.length,
      );
      return (sum(all) / all.length) * work.batch;
    }
    case 'grpo': {
      const all = work.prompts.map((prompt) => work.samples * (prompt.length + work.newTokens));
      return (sum(all) / all.length) * work.batch;
    }
    case 'lora':
      return work.sequences * work.length;
    case 'generate':
      return work.prompts.length * work.samples * work.newTokens;
  }
}
