/**
 * The engine's side of the alignment benchmarks, by the works that the stages run: each line on stdin is one step.
 * Usage: alignment_worker.ts WORK.json DIR THREADS
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { loadAddon, type Session, type SessionOptions } from '../src/native/addon.ts';
import { PAIR_LOSSES } from '../src/objectives/dpo/registry.ts';
import { CarriedSums } from '../src/preference/carried.ts';
import { dpoObjective } from '../src/preference/pairs.ts';
import { liveReference } from '../src/preference/reference.ts';
import { microbatchRows, PreferenceWork, packOptions } from '../src/preference/work.ts';
import { type DrawSettings, drawCompletions } from '../src/rollout/draw.ts';
import { grpo } from '../src/rollout/group_relative.ts';
import { RolloutMaker } from '../src/rollout/make.ts';
import type { Prompt, PromptOrder } from '../src/rollout/prompts.ts';
import { RolloutStore } from '../src/rollout/store.ts';
import { RolloutWork } from '../src/rollout/work.ts';
import type { Tokenizer } from '../src/tokenizer/tokenizer.ts';
import { optimizerFields, stepOptions } from '../src/training/optimizer.ts';
import type { Cursor, Work as TrainingWork, WorkGroup } from '../src/training/work.ts';
import { EOS, realTokens, type Work } from './alignment_work.ts';
import { benchArchitecture } from './model.ts';

const [workFile, dir, threads] = process.argv.slice(2) as [string, string, string];
const work = JSON.parse(readFileSync(workFile, 'utf8')) as Work;
const addon = loadAddon();
const optimizer = z.strictObject(optimizerFields({ adam_beta2: 0.999, weight_decay: 0 })).parse({});
const LEARNING_RATE = 1e-6;

async function open(rows: number, changes: Partial<SessionOptions>): Promise<Session> {
  const session = await addon.createSession({
    architecture: benchArchitecture(work.model),
    threads: Number(threads),
    trainable: true,
    maxTokens: rows,
    maxSequences: rows,
    maxScored: rows,
    recompute: false,
    generationSlots: 0,
    generationLength: 0,
    ...changes,
  });
  await session.initWeights(1, 0.02);
  return session;
}

/** What runs a step, and the bytes that a stage's copy for checkpoints takes beside it. */
interface Runner {
  step(): Promise<void>;
  copy: number;
}

/** Steps of a work of the training loop. */
function training<Group extends WorkGroup>(session: Session, of: TrainingWork<Group>): Runner {
  let cursor: Cursor = { epoch: 0, index: 0 };
  let steps = 0;
  return {
    copy: session.plan().snapshot,
    async step() {
      const group = await of.group(cursor, [], async () => {});
      for (let i = 0; i < group.microbatches; i++) await of.microbatch(group, i);
      steps += 1;
      await session.step(stepOptions(optimizer, LEARNING_RATE, steps));
      cursor = group.next;
    },
  };
}

async function dpo({ pairs, batch }: Work & { task: 'dpo' }): Promise<Runner> {
  const settings = {
    beta: 0.1,
    labelSmoothing: 0,
    discopopTau: 0.05,
    losses: [{ loss: PAIR_LOSSES.get('sigmoid')!, weight: 1 }],
    ldAlpha: undefined,
    divergence: 'reverse_kl',
    divergenceAlpha: 0.5,
  } as const;
  const objective = dpoObjective(settings);
  const groups = pairs.map((pair, i) => ({
    origin: `pair ${i}`,
    prompt: Int32Array.from(pair.prompt),
    answers: [Int32Array.from(pair.chosen), Int32Array.from(pair.rejected)],
    ranking: [[0], [1]],
    margin: undefined,
    desirable: undefined,
    teacher: undefined,
  }));
  const rows = microbatchRows(groups, packOptions(objective), batch);
  const session = await open(rows, { keepLogits: true });
  const reference = await open(rows, { trainable: false });
  return training(
    session,
    new PreferenceWork({
      session,
      passFields: () => ({}),
      objective,
      groups,
      validation: undefined,
      reference: liveReference(reference),
      carried: new CarriedSums(join(dir, 'carried.jsonl')),
      batchSize: batch,
      accumulation: 1,
      packing: false,
      seed: 1,
      maxRows: rows,
      length: { epochs: 1000 },
    }),
  );
}

/** Prompts in the order of the file, as the peer takes them. */
const inOrder = (count: number) => ({ at: (position: number) => position % count }) as PromptOrder;

async function grpoSteps({ prompts, batch, samples, newTokens }: Work & { task: 'grpo' }): Promise<Runner> {
  const longest = Math.max(...prompts.map((prompt) => prompt.length));
  const slots = batch * samples;
  const rows = batch * longest + slots * newTokens;
  const session = await open(rows, {
    keepLogits: true,
    generationSlots: slots,
    generationLength: longest + newTokens,
  });
  const measures = { policy: session, reference: undefined, valueHead: false, policyFields: {} };
  const asked = prompts.map(
    (ids, i): Prompt => ({
      origin: `prompt ${i}`,
      text: '',
      messages: undefined,
      ids: Int32Array.from(ids),
      fields: {},
    }),
  );
  const shape = { groups: batch, groupSize: samples };
  const maker = new RolloutMaker({
    session,
    adapter: undefined,
    tokenizer: { decode: () => '' } as unknown as Tokenizer,
    prompts: asked,
    order: inOrder(prompts.length),
    scorers: [
      {
        weight: 1,
        scorer: {
          name: 'distinct',
          score: async (responses) => responses.map(({ ids }) => new Set(ids).size),
          close: async () => {},
        },
      },
    ],
    measures,
    draw: drawing(newTokens, [EOS]),
    seed: 1,
    ...shape,
    groupsAtOnce: batch,
    missingEosPenalty: 0,
    maxDraws: undefined,
    klController: undefined,
  });
  const settings = {
    lossType: 'dapo',
    level: 'token',
    clip: { low: 0.2, high: 0.2 },
    beta: 0,
    entropyCoef: 0,
    scaleRewards: 'group',
    maskTruncated: false,
  } as const;
  return training(
    session,
    new RolloutWork({
      session,
      measures,
      maker,
      store: new RolloutStore(dir, 'bench', 2),
      algorithm: grpo(settings),
      prompts: asked,
      ...shape,
      plan: { passes: 1, batchSize: slots, accumulation: 1, seed: 1 },
      maxCompletionLength: newTokens,
      klCoefficient: 0,
      totalSteps: 1000,
      onRollout: () => {},
    }),
  );
}

function drawing(newTokens: number, stopIds: number[]): DrawSettings {
  return {
    maxCompletionLength: newTokens,
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    stopIds,
  };
}

async function lora({ sequences, length, rank }: Work & { task: 'lora' }): Promise<Runner> {
  const rows = sequences * length;
  const { num_hidden_layers, vocab_size } = work.model;
  const names = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj'];
  names.push('mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj');
  const modules = Array.from({ length: num_hidden_layers }, (_, layer) =>
    names.map((name) => ({
      name: `model.layers.${layer}.${name}`,
      rank,
      scale: 2,
      dropout: 0,
      dora: false,
    })),
  ).flat();
  const session = await open(rows, {
    trainable: false,
    maxSequences: sequences,
    adapters: [{ modules, replaces: [], trainable: true }],
  });
  await session.initAdapter(0, { seed: 1, kind: 'default' });
  const ids = (count: number) =>
    Int32Array.from({ length: count }, () => Math.floor(Math.random() * vocab_size));
  const weights = new Float32Array(rows).fill(1 / rows);
  let steps = 0;
  return {
    copy: session.plan().snapshot,
    async step() {
      const batch = {
        tokens: ids(rows),
        cuSeqlens: Int32Array.from({ length: sequences + 1 }, (_, s) => s * length),
        scored: Int32Array.from({ length: rows }, (_, row) => row),
        targets: ids(rows),
        adapter: 0,
      };
      await session.forwardBackward(batch, weights);
      steps += 1;
      await session.step({ ...stepOptions(optimizer, LEARNING_RATE, steps), adapter: 0 });
    },
  };
}

async function generating({ prompts, samples, newTokens }: Work & { task: 'generate' }): Promise<Runner> {
  const longest = Math.max(...prompts.map((prompt) => prompt.length));
  const session = await open(longest, {
    trainable: false,
    generationSlots: prompts.length * samples,
    generationLength: longest + newTokens,
  });
  const draws = prompts.map((prompt, i) => ({ prompt: Int32Array.from(prompt), seed: i }));
  return {
    copy: 0,
    async step() {
      const drawn = await drawCompletions(session, undefined, draws, samples, drawing(newTokens, []));
      const tokens = drawn.reduce((sum, completion) => sum + completion.tokens.length, 0);
      if (tokens !== realTokens(work)) throw new Error(`${tokens} tokens were drawn`);
    },
  };
}

const runner = await {
  dpo: () => dpo(work as Work & { task: 'dpo' }),
  grpo: () => grpoSteps(work as Work & { task: 'grpo' }),
  lora: () => lora(work as Work & { task: 'lora' }),
  generate: () => generating(work as Work & { task: 'generate' }),
}[work.task]();
for await (const _ of createInterface(process.stdin)) {
  const start = performance.now();
  await runner.step();
  const seconds = (performance.now() - start) / 1000;
  const peak = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  console.log(JSON.stringify({ seconds, value: runner.copy, peak_bytes: Number(peak) * 1024 }));
}
