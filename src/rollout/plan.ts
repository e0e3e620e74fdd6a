/**
 * How a rollout is trained on: some passes through its samples, each in an order of its own, cut into microbatches
 * and these into optimiser steps. Groups are shuffled, not samples, so that completions of one prompt stay side by
 * side and share its computation. A place is one number: the microbatch, counted over all passes.
 */
import { DataRandom } from '../data/random.ts';

export interface PlanOptions {
  /** Times that each sample is trained on. */
  passes: number;
  /** Samples of a microbatch, and microbatches of an optimiser step. */
  batchSize: number;
  accumulation: number;
  seed: number;
}

export class RolloutPlan {
  readonly #options: PlanOptions;
  readonly #index: number;
  readonly #groups: number;
  readonly #groupSize: number;
  /** Microbatches of one pass. */
  readonly perPass: number;
  /** Optimiser steps of one pass. */
  readonly stepsPerPass: number;

  constructor(index: number, groups: number, groupSize: number, options: PlanOptions) {
    this.#index = index;
    this.#groups = groups;
    this.#groupSize = groupSize;
    this.#options = options;
    this.perPass = Math.ceil((groups * groupSize) / options.batchSize);
    this.stepsPerPass = Math.ceil(this.perPass / options.accumulation);
  }

  /** Microbatches of all passes. */
  get length(): number {
    return this.perPass * this.#options.passes;
  }

  /** Samples of the microbatches of one pass, in order. */
  pass(pass: number): number[][] {
    const order = Uint32Array.from({ length: this.#groups }, (_, g) => g);
    new DataRandom('rollout', this.#options.seed, this.#index, pass).shuffle(order);
    const samples = [...order].flatMap((group) =>
      Array.from({ length: this.#groupSize }, (_, i) => group * this.#groupSize + i),
    );
    const { batchSize } = this.#options;
    return Array.from({ length: this.perPass }, (_, m) => samples.slice(m * batchSize, (m + 1) * batchSize));
  }

  /** The microbatches of the optimiser step that begins at a place, and the place behind it. */
  step(at: number): { microbatches: number[][]; next: number } {
    const pass = Math.floor(at / this.perPass);
    const from = at % this.perPass;
    const to = Math.min(from + this.#options.accumulation, this.perPass);
    return { microbatches: this.pass(pass).slice(from, to), next: pass * this.perPass + to };
  }
}
