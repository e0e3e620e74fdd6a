/** The parts of a rollout: packing, the plan, rewards, files, and drawing with a small model. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadAddon, type Session } from '../../src/native/addon.ts';
import type { Response, Scorer } from '../../src/rewards/scorer.ts';
import { RolloutMaker } from '../../src/rollout/make.ts';
import { sampleBatch, samplingMetrics } from '../../src/rollout/measure.ts';
import { packSamples } from '../../src/rollout/pack.ts';
import { RolloutPlan } from '../../src/rollout/plan.ts';
import { type Prompt, PromptOrder } from '../../src/rollout/prompts.ts';
import { mixRewards, rewardMetrics, scoreResponses } from '../../src/rollout/rewards.ts';
import { type Rollout, sampleCount } from '../../src/rollout/rollout.ts';
import { RolloutStore } from '../../src/rollout/store.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { architecture, sessionOptions } from '../engine/support.ts';
import { trainTokenizer } from '../tokenizer/fixture.ts';
import { stepOptions } from './task.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-rollout-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const PROMPTS = [
  [5, 9, 2],
  [7, 1],
  [3, 3, 8, 4],
].map(
  (ids, i): Prompt => ({
    origin: `p:${i + 1}`,
    text: `p${i}`,
    messages: undefined,
    ids: Int32Array.from(ids),
    fields: {},
  }),
);

let session: Session;
let tokenizer: Tokenizer;
beforeAll(async () => {
  session = await loadAddon().createSession(
    sessionOptions({
      maxTokens: 128,
      maxSequences: 32,
      maxScored: 128,
      generationSlots: 4,
      generationLength: 64,
    }),
  );
  await session.initWeights(3, 0.3);
  tokenizer = await trainTokenizer(join(dir, 'tokenizer'), 'gpt2');
});
afterAll(() => session.close());

/** Rewards a completion by a number of its own. */
const scorer = (name: string, number: (response: Response) => number | null): Scorer => ({
  name,
  score: async (responses) => responses.map(number),
  close: async () => {},
});

describe('packing', () => {
  const samples = [
    { group: 4, prompt: Int32Array.of(5, 9, 2), ids: Int32Array.of(11, 12, 13) },
    { group: 4, prompt: Int32Array.of(5, 9, 2), ids: Int32Array.of(14) },
    { group: 4, prompt: Int32Array.of(5, 9, 2), ids: Int32Array.of(15, 16) },
    { group: 1, prompt: Int32Array.of(7), ids: Int32Array.of(17, 18) },
  ];

  it('holds a prompt once for the samples beside each other', () => {
    const batch = packSamples(samples);
    expect([...batch.tokens]).toEqual([5, 9, 2, 11, 12, 15, 7, 17]);
    expect([...batch.cuSeqlens]).toEqual([0, 3, 5, 6, 7, 8]);
    expect([...batch.prefix!]).toEqual([-1, 0, 0, -1, 3]);
    expect([...batch.scored]).toEqual([2, 3, 4, 2, 2, 5, 6, 7]);
    expect([...batch.targets]).toEqual([11, 12, 13, 14, 15, 16, 17, 18]);
  });

  it('gives the log-probabilities and the gradient of samples apart', async () => {
    const weights = Float32Array.of(0.5, -1, 2, 0.25, 1, 1, -0.5, 3);
    const gradient = async (batches: { batch: ReturnType<typeof packSamples>; from: number }[]) => {
      await session.clearGradients();
      const logProbs: number[] = [];
      for (const { batch, from } of batches) {
        const scores = await session.forward(batch);
        logProbs.push(...scores.logProbs);
        await session.backward({ logProbs: weights.subarray(from, from + batch.scored.length) });
      }
      const gradients = await session.readTensor('model.layers.0.self_attn.k_proj.weight', 'gradient');
      return { logProbs, gradients: [...gradients] };
    };
    const together = await gradient([{ batch: packSamples(samples), from: 0 }]);
    let from = 0;
    const apart = await gradient(
      samples.map((sample) => {
        const batch = { batch: packSamples([sample]), from };
        from += sample.ids.length;
        return batch;
      }),
    );
    await session.clearGradients();
    together.logProbs.forEach((logProb, i) => {
      expect(logProb).toBeCloseTo(apart.logProbs[i]!, 5);
    });
    const scale = Math.max(...apart.gradients.map(Math.abs));
    together.gradients.forEach((value, i) => {
      expect(Math.abs(value - apart.gradients[i]!) / scale).toBeLessThan(1e-4);
    });
  });
});

describe('the plan', () => {
  const plan = new RolloutPlan(2, 5, 4, { passes: 2, batchSize: 8, accumulation: 2, seed: 1 });
  it('trains each sample once a pass, groups together', () => {
    expect([plan.perPass, plan.stepsPerPass, plan.length]).toEqual([3, 2, 6]);
    for (const pass of [0, 1]) {
      const samples = plan.pass(pass).flat();
      expect([...samples].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
      for (let i = 0; i < 20; i += 4) expect(samples[i + 3]! - samples[i]!).toBe(3);
    }
    expect(plan.pass(0)).not.toEqual(plan.pass(1));
  });
  it('cuts steps that do not straddle passes', () => {
    const places = [];
    for (let at = 0; at < plan.length; ) {
      const { microbatches, next } = plan.step(at);
      places.push([at, microbatches.length]);
      at = next;
    }
    expect(places).toEqual([
      [0, 2],
      [2, 1],
      [3, 2],
      [5, 1],
    ]);
  });
});

describe('rewards', () => {
  const responses = [0, 1, 2].map((i) => ({ text: `r${i}` }) as Response);
  const weighted = [
    { scorer: scorer('length', ({ text }) => Number(text.slice(1))), weight: 2 },
    { scorer: scorer('some', ({ text }) => (text === 'r0' ? 5 : null)), weight: 0.5 },
  ];
  it('are mixed by weight; a cut completion pays', async () => {
    const rewards = await scoreResponses(weighted, responses);
    expect([...rewards]).toEqual([0, 5, 1, NaN, 2, NaN]);
    const scores = mixRewards(weighted, rewards, Uint8Array.of(1, 1, 0), 1);
    expect([...scores]).toEqual([2.5, 2, 3]);
    expect(rewardMetrics(['length', 'some'], rewards, scores)).toMatchObject({
      'rewards/length/mean': 1,
      'rewards/length/std': 1,
      'rewards/some/mean': 5,
      reward: 2.5,
    });
  });
  it('are unknown where nothing is said', () => {
    const scores = mixRewards(weighted, Float64Array.of(NaN, NaN), Uint8Array.of(1), 0);
    expect(scores[0]).toBeNaN();
  });
  it.each([NaN, Infinity])('must be finite: %d', async (number) => {
    const bad = [{ scorer: scorer('broken', () => number), weight: 1 }];
    await expect(scoreResponses(bad, responses)).rejects.toMatchObject({
      code: 'reward_invalid',
      message: expect.stringContaining('broken'),
    });
  });
  it('must be as many as the responses', async () => {
    const bad = [{ scorer: { ...scorer('short', () => 0), score: async () => [1] }, weight: 1 }];
    await expect(scoreResponses(bad, responses)).rejects.toMatchObject({ code: 'reward_invalid' });
  });
});

describe('drawing', () => {
  const DRAW = {
    maxCompletionLength: 6,
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    stopIds: [2, 3],
  };
  const AGREE = {
    'sampling/sampling_logp_difference/max': expect.closeTo(0, 5),
    'sampling/importance_sampling_ratio/min': expect.closeTo(1, 5),
    'sampling/importance_sampling_ratio/max': expect.closeTo(1, 5),
  };
  const samplesOf = (rollout: Rollout) => Array.from({ length: sampleCount(rollout) }, (_, i) => i);
  const makerWith = (reward: (response: Response) => number, maxDraws: number | undefined, fields = {}) =>
    new RolloutMaker({
      session,
      adapter: undefined,
      tokenizer,
      prompts: PROMPTS,
      order: new PromptOrder(PROMPTS.length, 1),
      scorers: [{ scorer: scorer('reward', reward), weight: 1 }],
      measures: {
        policy: session,
        reference: session,
        policyFields: {},
      },
      draw: DRAW,
      seed: 9,
      groups: 4,
      groupSize: 3,
      groupsAtOnce: 2,
      missingEosPenalty: 0,
      maxDraws,
      klController: undefined,
      ...fields,
    });
  const plan = new RolloutPlan(0, 4, 3, { passes: 1, batchSize: 5, accumulation: 1, seed: 1 });
  const start = { position: 0, klCoefficient: 0.1 };
  const free = async () => {};
  const byFirst = ({ ids }: Response) => (ids[0]! % 8 === 0 ? 1 : 0);

  it("gives the sampler's log-probabilities, the trainer's and the reference's, all the same", async () => {
    const rollout = await makerWith(byFirst, undefined).make(0, start, plan, free);
    expect(rollout.offsets).toHaveLength(13);
    expect(rollout.prompts).toHaveLength(4);
    rollout.oldLogProbs.forEach((logProb, t) => {
      expect(Math.abs(logProb - rollout.sampledLogProbs[t]!)).toBeLessThan(1e-4);
      expect(rollout.referenceLogProbs[t]).toBe(logProb);
    });
    expect(rollout.next).toEqual({ position: 4, klCoefficient: 0.1 });
    const again = await makerWith(byFirst, undefined).make(0, start, plan, free);
    expect(again).toEqual(rollout);
    const other = await makerWith(byFirst, undefined).make(1, start, plan, free);
    expect(other.ids).not.toEqual(rollout.ids);
  });

  it.each([
    ['0.6', 0.6],
    ['1.7', 1.7],
  ])(
    'sampler and trainer agree at temperature %s, with the softmax of the logits divided by it',
    async (_, temperature) => {
      const base = makerWith(byFirst, undefined);
      const fields = {
        draw: { ...DRAW, temperature },
        measures: { policy: session, reference: session, policyFields: { temperature } },
      };
      const rollout = await makerWith(byFirst, undefined, fields).make(0, start, plan, free);
      expect(samplingMetrics(rollout, samplesOf(rollout))).toMatchObject(AGREE);
      expect(rollout.ids).not.toEqual((await base.make(0, start, plan, free)).ids);
      const batch = sampleBatch(rollout, samplesOf(rollout), (g) => PROMPTS[rollout.prompts[g]!]!.ids);
      const logits = await session.logits(batch);
      const vocabulary = architecture.vocabSize;
      batch.targets.forEach((target, t) => {
        const row = Array.from(logits.subarray(t * vocabulary, (t + 1) * vocabulary), (z) => z / temperature);
        const logZ = Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0));
        expect(rollout.sampledLogProbs[t]! - (row[target]! - logZ)).toBeCloseTo(0, 4);
        expect(rollout.referenceLogProbs[t]! - (row[target]! - logZ)).toBeCloseTo(0, 4);
      });
    },
  );

  it('sampler and trainer agree with an adapter, as it begins and after it has been trained', async () => {
    const names = ['q_proj', 'v_proj', 'o_proj'].map((name) => `model.layers.0.self_attn.${name}`);
    const modules = names.map((name) => ({ name, rank: 2, scale: 4, dropout: 0, dora: false }));
    const adapted = await loadAddon().createSession({
      ...sessionOptions({ trainable: false, maxSequences: 32, generationSlots: 4, generationLength: 64 }),
      adapters: [{ modules, replaces: ['model.norm.weight'], trainable: true }],
    });
    try {
      await adapted.initWeights(3, 0.3);
      await adapted.initAdapter(0, { seed: 1, kind: 'random' });
      const policyFields = { adapter: 0, temperature: 0.8 };
      const fields = {
        session: adapted,
        adapter: 0,
        draw: { ...DRAW, temperature: 0.8 },
        measures: { policy: adapted, reference: adapted, policyFields },
      };
      const make = () => makerWith(byFirst, undefined, fields).make(0, start, plan, free);
      const before = await make();
      const { ids, offsets, groupSize } = before;
      const promptOf = (g: number) => PROMPTS[before.prompts[g]!]!.ids;
      const batch = sampleBatch({ ids, offsets, groupSize }, [0, 1, 2], promptOf);
      await adapted.forwardBackward(
        { ...batch, ...policyFields },
        new Float32Array(batch.scored.length).fill(1),
      );
      await adapted.step({ ...stepOptions(1, 0.1), adapter: 0 });
      const after = await make();
      for (const rollout of [before, after]) {
        expect(samplingMetrics(rollout, samplesOf(rollout))).toMatchObject(AGREE);
        // The reference is the base without the adapter: drawn with it, none of this would be seen.
        const far = rollout.oldLogProbs.map((logProb, t) =>
          Math.abs(logProb - rollout.referenceLogProbs[t]!),
        );
        expect(Math.max(...far)).toBeGreaterThan(0.01);
      }
      expect(after.sampledLogProbs).not.toEqual(before.sampledLogProbs);
    } finally {
      await adapted.close();
    }
  });

  it('tells by how much they differ', () => {
    const rollout = {
      offsets: Int32Array.of(0, 2, 3),
      oldLogProbs: Float32Array.of(-1, -2, -3),
      sampledLogProbs: Float32Array.of(-1, -1.5, -4),
    };
    const metrics = samplingMetrics(rollout, [0, 1]);
    expect(metrics['sampling/sampling_logp_difference/mean']).toBeCloseTo(0.5, 10);
    expect(metrics['sampling/sampling_logp_difference/max']).toBeCloseTo(1, 10);
    expect(metrics['sampling/importance_sampling_ratio/min']).toBeCloseTo(Math.exp(-0.5), 10);
    expect(metrics['sampling/importance_sampling_ratio/mean']).toBeCloseTo(
      (1 + Math.exp(-0.5) + Math.E) / 3,
      10,
    );
    expect(metrics['sampling/importance_sampling_ratio/max']).toBeCloseTo(Math.E, 10);
  });

  it('draws anew for groups whose rewards are all the same, within a bound', async () => {
    const dynamic = await makerWith(byFirst, 8).make(0, start, plan, free);
    const plain = await makerWith(byFirst, undefined).make(0, start, plan, free);
    const uniform = (rollout: typeof plain, g: number) =>
      new Set(rollout.scores.subarray(g * 3, g * 3 + 3)).size === 1;
    expect([0, 1, 2, 3].some((g) => uniform(plain, g))).toBe(true);
    expect([0, 1, 2, 3].some((g) => uniform(dynamic, g))).toBe(false);
    expect(dynamic.groupsThrownAway).toBeGreaterThan(0);
    expect(dynamic.next.position).toBe(4 + dynamic.groupsThrownAway);
    const hopeless = await makerWith(() => 1, 3).make(0, start, plan, free);
    expect([hopeless.groupsThrownAway, hopeless.next.position]).toEqual([8, 12]);
  });

  it('is kept by number and key, and old rollouts go', async () => {
    const store = new RolloutStore(dir, 'artifact', 2);
    const rollout = await makerWith(byFirst, undefined).make(0, start, plan, free);
    rollout.rewards[1] = Number.NaN;
    for (const index of [0, 1, 2]) await store.write({ ...rollout, index }, 'key');
    expect(await store.read(0, 'key')).toBeUndefined();
    expect(await store.read(2, 'key')).toEqual({ ...rollout, index: 2 });
    expect(await store.read(2, 'other')).toBeUndefined();
    expect(await new RolloutStore(dir, 'other', 2).read(2, 'key')).toBeUndefined();
    const path = join(dir, 'rollouts', readdirSync(join(dir, 'rollouts'))[0]!);
    writeFileSync(path, readFileSync(path, 'utf8').replace('"index":1', '"index":3'));
    await expect(store.read(1, 'key')).rejects.toMatchObject({ code: 'artifact_corrupt' });
  });

  it('adapts the weight of the divergence to its target', async () => {
    const other = await loadAddon().createSession(sessionOptions({ trainable: false, maxSequences: 32 }));
    try {
      await other.initWeights(4, 0.3);
      const measures = {
        policy: session,
        reference: other,
        policyFields: {},
      };
      const make = (target: number) =>
        makerWith(byFirst, undefined, { measures, klController: { target, horizon: 100 } }).make(
          0,
          start,
          plan,
          free,
        );
      expect((await make(1e-3)).next.klCoefficient).toBeCloseTo(0.1 * (1 + (0.2 * 12) / 100), 10);
      expect((await make(1e3)).next.klCoefficient).toBeCloseTo(0.1 * (1 - (0.2 * 12) / 100), 10);
    } finally {
      await other.close();
    }
  });

  it('makes batches that the session has room for', async () => {
    const rollout = await makerWith(byFirst, undefined).make(0, start, plan, free);
    const batch = sampleBatch(rollout, [0, 1, 2], (g) => PROMPTS[rollout.prompts[g]!]!.ids);
    expect(Math.max(...batch.targets)).toBeLessThan(architecture.vocabSize);
    expect(batch.scored.length).toBe(rollout.offsets[3]);
  });
});
