/**
 * Reinforcement learning as a `Work` of the training loop. A cursor's epoch is the rollout, its index the microbatch
 * of the rollout's plan. The first step of a rollout draws and measures it with the weights as they are then, and
 * writes it; whoever comes to it again (after a kill, or when the guard has gone back) finds it.
 */
import { AnnealError } from '../../proto/errors.ts';
import type { Session, StepResult } from '../native/addon.ts';
import { offsetsOf } from '../objectives/spans.ts';
import type { MovingReference } from '../preference/moving_reference.ts';
import type { BestBy, Companion, Cursor, Kept, Sums, Validate, Work, WorkGroup } from '../training/work.ts';
import { hashValue } from '../util/hash.ts';
import type { Algorithm, Prepared, StepCounts } from './algorithm.ts';
import type { Critic } from './critic.ts';
import type { RolloutMaker } from './make.ts';
import { criticPass, type Measures, sampleBatch } from './measure.ts';
import { type PlanOptions, RolloutPlan } from './plan.ts';
import type { Prompt } from './prompts.ts';
import { groupOf, type Rollout, type RolloutState, sampleCount, sampleIds, tokenCount } from './rollout.ts';
import type { RolloutStore } from './store.ts';

/** Rollouts in a row that may have nothing to train on. */
const MAX_EMPTY_ROLLOUTS = 8;

export interface RolloutWorkOptions {
  session: Session;
  measures: Measures;
  maker: RolloutMaker;
  store: RolloutStore;
  algorithm: Algorithm;
  prompts: readonly Prompt[];
  /** Groups of a rollout, and samples of a group. */
  groups: number;
  groupSize: number;
  plan: PlanOptions;
  maxCompletionLength: number;
  klCoefficient: number;
  /** Optimiser steps in all. */
  totalSteps: number;
  /** The reference, where it follows the policy. */
  moving?: MovingReference | undefined;
  /** Called with each rollout that has been drawn anew. */
  onRollout(rollout: Rollout): void;
  /** Metrics of held-out prompts. Absent: there are none. */
  validate?: Validate | undefined;
}

export interface RolloutGroup extends WorkGroup {
  rollout: Rollout;
  prepared: Prepared;
  samples: number[][];
  step: StepCounts;
}

type SetAside = readonly { from: Cursor; rows: number[] }[];

interface Current {
  key: string;
  rollout: Rollout;
  prepared: Prepared;
  plan: RolloutPlan;
}

export class RolloutWork implements Work<RolloutGroup> {
  readonly totalSteps: number;
  readonly companions: readonly Companion[];
  readonly kept: readonly Kept[];
  readonly validate: Validate | undefined;
  readonly bestBy: BestBy = { metric: 'eval_reward', greater: true };
  readonly #options: RolloutWorkOptions;
  readonly #critic: Critic | undefined;
  #current: Current | undefined;

  constructor(options: RolloutWorkOptions) {
    this.#options = options;
    this.totalSteps = options.totalSteps;
    this.validate = options.validate;
    this.kept = options.moving ? [options.moving] : [];
    const { values } = options.measures;
    this.#critic = values === 'head' ? undefined : values;
    this.companions = this.#critic ? [companion(this.#critic)] : [];
  }

  async group(cursor: Cursor, setAside: SetAside, boundary: () => Promise<void>): Promise<RolloutGroup> {
    let { epoch, index } = cursor;
    for (let empty = 0; empty < MAX_EMPTY_ROLLOUTS; epoch++, index = 0, empty++) {
      const mayDraw = epoch > cursor.epoch || cursor.index === 0;
      const current = await this.#rollout(epoch, setAside, mayDraw, boundary);
      while (index < current.plan.length) {
        const { microbatches, next } = current.plan.step(index);
        const samples = this.#kept(current, microbatches, { epoch, index }, setAside);
        const after = next < current.plan.length ? { epoch, index: next } : { epoch: epoch + 1, index: 0 };
        if (samples.length > 0) return this.#group(current, samples, microbatches.flat().length, after);
        index = next;
      }
    }
    throw new AnnealError('data_empty', `${MAX_EMPTY_ROLLOUTS} rollouts in a row have nothing to train on.`, {
      hint: 'All of their completions are cut short (mask_truncated_completions) or were set aside: raise max_completion_length, or lower the learning rate.',
    });
  }

  async microbatch(
    group: RolloutGroup,
    index: number,
  ): Promise<{ loss: number; tokens: number; sums: Sums }> {
    const { session, measures, algorithm } = this.#options;
    const { rollout, prepared, step } = group;
    const samples = group.samples[index]!;
    const batch = sampleBatch(rollout, samples, (g) => this.#prompt(rollout, g));
    const offsets = offsetsOf(samples.map((sample) => sampleIds(rollout, sample).length));
    const outputs = measures.values === 'head' ? 'both' : 'tokens';
    const scores = await session.forward({ ...batch, ...measures.policyFields, outputs });
    const microbatch = { scores, rollout, prepared, samples, offsets, step };
    const { loss, gradients, sums } = algorithm.loss(microbatch);
    await session.backward(gradients);
    const tokens = batch.tokens.length;
    if (!this.#critic) return { loss, tokens, sums };
    // Behind the policy's backward: both may be of one session.
    const values = await criticPass(this.#critic, batch);
    const own = algorithm.valueLoss!({ ...microbatch, scores: values });
    await this.#critic.session.backward(own.gradients);
    return { loss: loss + own.loss, tokens, sums: { ...sums, ...own.sums } };
  }

  async applied(_group: RolloutGroup, _result: StepResult, step: number): Promise<void> {
    await this.#options.moving?.applied(step);
  }

  metrics(sums: Sums, group: RolloutGroup): Record<string, number> {
    return { ...group.prepared.metrics, ...this.#options.algorithm.metrics(sums) };
  }

  epochsAt(cursor: Cursor): number {
    const { groups, prompts, plan } = this.#options;
    const { length } = new RolloutPlan(cursor.epoch, groups, this.#options.groupSize, plan);
    return ((cursor.epoch + cursor.index / length) * groups) / prompts.length;
  }

  /** Rows are samples, numbered through all rollouts: told by prompt when the rollout is at hand. */
  origin(row: number): string {
    const samples = this.#options.groups * this.#options.groupSize;
    const [index, sample] = [Math.floor(row / samples), row % samples];
    const rollout = this.#current?.rollout;
    const name = `rollout ${index}, sample ${sample}`;
    return rollout?.index === index
      ? `${name} of ${this.#options.prompts[rollout.prompts[groupOf(rollout, sample)]!]!.origin}`
      : name;
  }

  #group(current: Current, samples: number[][], completions: number, next: Cursor): RolloutGroup {
    const { rollout, prepared, plan } = current;
    const count = sampleCount(rollout);
    const trained = Array.from({ length: count }, (_, i) => i).filter((i) => prepared.trained[i] === 1);
    return {
      rollout,
      prepared,
      samples,
      microbatches: samples.length,
      rows: samples.map((own) => own.map((sample) => rollout.index * count + sample)),
      tokens: samples.flat().reduce((sum, sample) => sum + this.#inputs(rollout, sample), 0),
      next,
      step: {
        completions,
        trained: samples.flat().length,
        tokens: tokenCount(rollout, samples.flat()),
        tokensPerStep: tokenCount(rollout, trained) / plan.stepsPerPass,
        maxCompletionLength: this.#options.maxCompletionLength,
      },
    };
  }

  /** Tokens that the engine reads for a sample by itself. */
  #inputs(rollout: Rollout, sample: number): number {
    return this.#prompt(rollout, groupOf(rollout, sample)).length + sampleIds(rollout, sample).length - 1;
  }

  #prompt(rollout: Rollout, group: number): Int32Array {
    return this.#options.prompts[rollout.prompts[group]!]!.ids;
  }

  /** The microbatches without samples that are not trained on; empty ones are left out. */
  #kept(current: Current, microbatches: number[][], at: Cursor, setAside: SetAside): number[][] {
    const { rollout, prepared } = current;
    const first = rollout.index * sampleCount(rollout);
    const gone = new Set(
      setAside
        .filter(({ from }) => from.epoch < at.epoch || (from.epoch === at.epoch && from.index <= at.index))
        .flatMap(({ rows }) => rows.map((row) => row - first)),
    );
    return microbatches
      .map((samples) => samples.filter((sample) => prepared.trained[sample] === 1 && !gone.has(sample)))
      .filter((samples) => samples.length > 0);
  }

  /**
   * The rollout of this number: at hand, on disk, or, with the weights as they were before its first step, drawn now.
   */
  async #rollout(
    index: number,
    setAside: SetAside,
    mayDraw: boolean,
    boundary: () => Promise<void>,
  ): Promise<Current> {
    const { store, maker, groups, groupSize, plan: planOptions, onRollout } = this.#options;
    const key = keyOf(index, setAside);
    if (this.#current?.rollout.index === index && this.#current.key === key) return this.#current;
    const plan = new RolloutPlan(index, groups, groupSize, planOptions);
    let rollout = await store.read(index, key);
    if (!rollout) {
      if (!mayDraw) throw missing(index);
      rollout = await maker.make(index, await this.#stateBefore(index, setAside), plan, boundary);
      await store.write(rollout, key);
      onRollout(rollout);
    }
    this.#current = { key, rollout, plan, prepared: this.#options.algorithm.prepare(rollout) };
    return this.#current;
  }

  async #stateBefore(index: number, setAside: SetAside): Promise<RolloutState> {
    if (index === 0) return { position: 0, klCoefficient: this.#options.klCoefficient };
    const before = await this.#options.store.read(index - 1, keyOf(index - 1, setAside));
    if (before) return before.next;
    throw missing(index - 1);
  }
}

function companion({ session, fields, learningRate }: Critic): Companion {
  return { name: 'critic', session, adapter: fields.adapter, learningRate };
}

/** What a rollout depends on beside recipe and cursor: the rows that were set aside in the steps before it. */
function keyOf(index: number, setAside: SetAside): string {
  return hashValue(setAside.filter(({ from }) => from.epoch < index));
}

function missing(index: number): AnnealError {
  return new AnnealError(
    'artifact_corrupt',
    `Rollout ${index} of the stage is missing from its work folder.`,
    {
      hint: 'Run the stage again from its beginning (--fresh).',
    },
  );
}
