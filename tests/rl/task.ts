/**
 * A task with an answer that a program can check, and a policy that begins badly at it: of two digits name the larger
 * and stop. The policy has seen right answers half of the time. Training goes on without the stages around it: the
 * work, and an optimiser step for each of its groups.
 */
import { loadAddon, type Session, type SessionOptions } from '../../src/native/addon.ts';
import type { Scorer } from '../../src/rewards/scorer.ts';
import type { Algorithm } from '../../src/rollout/algorithm.ts';
import { RolloutMaker, type RolloutMakerOptions } from '../../src/rollout/make.ts';
import type { Measures } from '../../src/rollout/measure.ts';
import { packSamples } from '../../src/rollout/pack.ts';
import { type Prompt, PromptOrder } from '../../src/rollout/prompts.ts';
import { RolloutStore } from '../../src/rollout/store.ts';
import { RolloutWork, type RolloutWorkOptions } from '../../src/rollout/work.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import type { Cursor, Sums } from '../../src/training/work.ts';
import { architecture } from '../engine/support.ts';

/** Ids of the vocabulary that are not digits. */
export const [EQUALS, STOP, START] = [10, 11, 12];

export const PROMPTS = Array.from({ length: 100 }, (_, i): Prompt => {
  const [a, b] = [Math.floor(i / 10), i % 10];
  const fields = { answer: Math.max(a, b) };
  return {
    origin: `${a},${b}`,
    text: '',
    messages: undefined,
    ids: Int32Array.of(START, a, b, EQUALS),
    fields,
  };
});

/** Digits have no text here: scorers look at ids. */
export const NO_TEXT = { decode: () => '' } as unknown as Tokenizer;

/** 1 for the larger digit and nothing more. */
export const rightAnswer: Scorer = {
  name: 'right',
  score: async (responses) =>
    responses.map(({ ids, fields }) =>
      ids.length === 2 && ids[0] === fields.answer && ids[1] === STOP ? 1 : 0,
    ),
  close: async () => {},
};

const WARM_UP_STEPS = 30;

/** A policy that answers right about a third of the time. */
export async function weakPolicy(seed: number, changes: Partial<SessionOptions> = {}): Promise<Session> {
  const session = await loadAddon().createSession({
    architecture: {
      ...architecture,
      vocabSize: 16,
      hiddenSize: 48,
      intermediateSize: 96,
      headDim: 12,
      maxPositions: 32,
    },
    threads: 1,
    trainable: true,
    maxTokens: 1024,
    maxSequences: 256,
    maxScored: 512,
    recompute: false,
    generationSlots: 64,
    generationLength: 16,
    ...changes,
  });
  await session.initWeights(seed, 0.05);
  for (let step = 1; step <= WARM_UP_STEPS; step++) {
    const answers = PROMPTS.map(({ ids, fields }, k) => {
      const known = (k * 7 + step * 3) % 10 < 5;
      const digit = known ? (fields.answer as number) : (k * 3 + step) % 10;
      return { group: k, prompt: ids, ids: Int32Array.of(digit, STOP) };
    });
    const batch = packSamples(answers);
    const weights = new Float32Array(batch.scored.length).fill(1 / batch.scored.length);
    await session.forwardBackward(batch, weights);
    await session.step(stepOptions(step, 3e-3));
  }
  return session;
}

export function stepOptions(step: number, learningRate: number) {
  return { learningRate, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1, step };
}

export interface LearningOptions {
  session: Session;
  algorithm: Algorithm;
  seed: number;
  steps: number;
  learningRate: number;
  dir: string;
  measures?: Partial<Measures>;
  maker?: Partial<RolloutMakerOptions>;
  work?: Partial<RolloutWorkOptions>;
}

/** The work over the task. */
export function taskWork(options: LearningOptions): RolloutWork {
  const { session, algorithm, seed, dir } = options;
  const measures: Measures = {
    policy: session,
    reference: undefined,
    policyFields: {},
    ...options.measures,
  };
  const shape = { groups: 16, groupSize: 8 };
  const maker = new RolloutMaker({
    session,
    adapter: undefined,
    tokenizer: NO_TEXT,
    prompts: PROMPTS,
    order: new PromptOrder(PROMPTS.length, seed),
    scorers: [{ scorer: rightAnswer, weight: 1 }],
    measures,
    draw: {
      maxCompletionLength: 4,
      temperature: 1,
      topK: 0,
      topP: 1,
      minP: 0,
      repetitionPenalty: 1,
      stopIds: [STOP],
    },
    seed,
    ...shape,
    groupsAtOnce: 16,
    missingEosPenalty: 0,
    maxDraws: undefined,
    klController: undefined,
    ...options.maker,
  });
  return new RolloutWork({
    session,
    measures,
    maker,
    store: new RolloutStore(dir, `task-${seed}`, 3),
    algorithm,
    prompts: PROMPTS,
    ...shape,
    plan: { passes: 1, batchSize: 64, accumulation: 2, seed },
    maxCompletionLength: 4,
    klCoefficient: 0,
    totalSteps: options.steps,
    onRollout: () => {},
    ...options.work,
  });
}

/** Trains; returns the metrics of each step. */
export async function learn(options: LearningOptions): Promise<Record<string, number>[]> {
  const work = taskWork(options);
  let cursor: Cursor = { epoch: 0, index: 0 };
  const history: Record<string, number>[] = [];
  for (let step = 1; step <= options.steps; step++) {
    const group = await work.group(cursor, [], async () => {});
    const sums: Sums = {};
    for (let m = 0; m < group.microbatches; m++) {
      const outcome = await work.microbatch(group, m);
      for (const [name, value] of Object.entries(outcome.sums)) sums[name] = (sums[name] ?? 0) + value;
    }
    await options.session.step(stepOptions(WARM_UP_STEPS + step, options.learningRate));
    history.push(work.metrics(sums, group));
    cursor = group.next;
  }
  return history;
}

/** Mean of a metric over the last `count` steps. */
export function lastMean(history: readonly Record<string, number>[], name: string, count: number): number {
  return history.slice(-count).reduce((sum, metrics) => sum + metrics[name]!, 0) / count;
}
