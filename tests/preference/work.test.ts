/**
 * Preference training on a real engine: prompts computed once give the gradients of prompts computed apart, a step
 * does not depend on how it is cut, and reference numbers are found again by content.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { AnswerGroup } from '../../src/data/preference.ts';
import { DataRandom } from '../../src/data/random.ts';
import { type Batch, loadAddon, type Session } from '../../src/native/addon.ts';
import { PAIR_LOSSES } from '../../src/objectives/dpo/registry.ts';
import { groupScored, groupTokens, packGroups } from '../../src/preference/batch.ts';
import { CarriedSums } from '../../src/preference/carried.ts';
import { ContentCache } from '../../src/preference/content_cache.ts';
import { bcoObjective, ktoObjective, mismatchedGroups } from '../../src/preference/labelled.ts';
import type { PreferenceObjective } from '../../src/preference/objective.ts';
import { cpoObjective, dpoObjective, orpoObjective } from '../../src/preference/pairs.ts';
import { liveReference, precompute, type ReferenceLogProbs } from '../../src/preference/reference.ts';
import { PreferenceWork, type PreferenceWorkOptions, packOptions } from '../../src/preference/work.ts';
import { temporaryFolder } from '../data/stage_context.ts';
import { architecture, sessionOptions } from '../engine/support.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const open: Session[] = [];
afterEach(async () => {
  for (const session of open.splice(0)) await session.close();
});

async function newSession(seed: number, trainable = true): Promise<Session> {
  const room = { maxTokens: 512, maxSequences: 64, maxScored: 512, generationSlots: 0, generationLength: 0 };
  const session = await loadAddon().createSession(sessionOptions({ ...room, trainable }));
  open.push(session);
  await session.initWeights(seed, 0.2);
  return session;
}

const random = new DataRandom('work');
const ids = (length: number) =>
  Int32Array.from({ length }, () => 2 + random.below(architecture.vocabSize - 2));

function makeGroups(count: number, answers: number): AnswerGroup[] {
  return Array.from({ length: count }, (_, i) => ({
    origin: `rows.jsonl:${i + 1}`,
    prompt: ids(1 + random.below(9)),
    // Among them answers of one token, which are no sequence of their own.
    answers: Array.from({ length: answers }, (_, a) => ids(i === 1 && a === 0 ? 1 : 1 + random.below(8))),
    ranking: Array.from({ length: answers }, (_, a) => [a]),
    margin: undefined,
    desirable: i % 3 !== 0,
    teacher: undefined,
  }));
}

const DPO = {
  losses: [
    { loss: PAIR_LOSSES.get('sigmoid')!, weight: 1 },
    { loss: PAIR_LOSSES.get('sft')!, weight: 0.3 },
  ],
  beta: 0.5,
  labelSmoothing: 0,
  discopopTau: 0.05,
  ldAlpha: 0.5,
  divergence: 'reverse_kl' as const,
  divergenceAlpha: 0.5,
};
const CPO = {
  lossType: 'simpo' as const,
  beta: 2,
  labelSmoothing: 0,
  simpoGamma: 0.5,
  cpoAlpha: 0.5,
  alpha: 0,
};

interface Kind {
  name: string;
  answers: number;
  objective(groups: AnswerGroup[]): PreferenceObjective;
}

const kinds: Kind[] = [
  { name: 'dpo', answers: 2, objective: () => dpoObjective(DPO) },
  { name: 'simpo', answers: 2, objective: () => cpoObjective(CPO) },
  { name: 'orpo', answers: 2, objective: () => orpoObjective({ beta: 0.5 }) },
  {
    name: 'kto',
    answers: 1,
    objective: (groups) =>
      ktoObjective(
        { lossType: 'kto', beta: 0.5, desirableWeight: 1, undesirableWeight: 1.5 },
        mismatchedGroups(groups, 20),
      ),
  },
  {
    name: 'bco',
    answers: 1,
    objective: (groups) => bcoObjective({ beta: 0.5 }, new Map([[groups[0]!, 3]])),
  },
];

let carriedFiles = 0;
function makeWork(
  session: Session,
  reference: ReferenceLogProbs,
  groups: AnswerGroup[],
  kind: Kind,
  changes: Partial<PreferenceWorkOptions> = {},
): PreferenceWork {
  return new PreferenceWork({
    session,
    passFields: () => ({}),
    objective: kind.objective(groups),
    groups,
    validation: undefined,
    reference,
    carried: new CarriedSums(join(folder.path, `carried-${carriedFiles++}.jsonl`)),
    batchSize: groups.length,
    accumulation: 1,
    packing: false,
    seed: 3,
    maxRows: 512,
    length: { epochs: 1 },
    ...changes,
  });
}

const CURSOR = { epoch: 0, index: 0 };
const noBoundary = async () => {};

/** Loss, metrics and gradients of the first step; the gradients are cleared. */
async function firstStep(session: Session, work: PreferenceWork) {
  const step = await work.group(CURSOR, [], noBoundary);
  let loss = 0;
  const sums: Record<string, number> = {};
  for (let i = 0; i < step.microbatches; i++) {
    const share = await work.microbatch(step, i);
    loss += share.loss;
    for (const [name, value] of Object.entries(share.sums)) sums[name] = (sums[name] ?? 0) + value;
  }
  const gradients = new Map<string, Float32Array>();
  for (const { name } of session.tensors()) gradients.set(name, await session.readTensor(name, 'gradient'));
  await session.clearGradients();
  return { step, loss, metrics: work.metrics(sums), gradients };
}

function expectSameGradients(a: Map<string, Float32Array>, b: Map<string, Float32Array>): void {
  for (const [name, left] of a) {
    const right = b.get(name)!;
    const scale = left.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
    expect(scale, name).toBeGreaterThan(0);
    left.forEach((g, i) => {
      expect(Math.abs(g - right[i]!), name).toBeLessThan(2e-5 * scale + 1e-9);
    });
  }
}

/** The same sequences without prefixes: a prompt before each answer. */
function apart({ batch }: { batch: Batch }): Batch {
  const [starts, prefix] = [batch.cuSeqlens, batch.prefix!];
  const tokens: number[] = [];
  const borders = [0];
  const placeOf = new Map<number, number>();
  for (let s = 0; s < prefix.length; s++) {
    const p = prefix[s]!;
    if (p >= 0) tokens.push(...batch.tokens.subarray(starts[p]!, starts[p + 1]!));
    for (let row = starts[s]!; row < starts[s + 1]!; row++)
      placeOf.set(row, tokens.push(batch.tokens[row]!) - 1);
    borders.push(tokens.length);
  }
  return {
    ...batch,
    tokens: Int32Array.from(tokens),
    cuSeqlens: Int32Array.from(borders),
    prefix: new Int32Array(prefix.length).fill(-1),
    scored: batch.scored.map((row) => placeOf.get(row)!),
  };
}

/** The groups with tokens in the middle of longer answers that do not count, as of several messages. */
function withMarks(groups: readonly AnswerGroup[]): AnswerGroup[] {
  return groups.map((group) => ({
    ...group,
    scored: group.answers.map(({ length }) =>
      Uint8Array.from({ length }, (_, t) => (t > 0 && t < length - 1 && t % 3 !== 0 ? 0 : 1)),
    ),
  }));
}

describe('packing', () => {
  it('scores of answers what counts, with the numbers that it has among all', async () => {
    const session = await newSession(1);
    const groups = makeGroups(5, 2);
    const marked = withMarks(groups);
    const options = { outputs: 'tokens' as const, scorePrompt: true };
    const [whole, some] = [packGroups(groups, options), packGroups(marked, options)];
    expect(some.batch.tokens).toEqual(whole.batch.tokens);
    expect(some.batch.scored.length).toBe(marked.reduce((n, group) => n + groupScored(group, options), 0));
    const [all, own] = [await session.forward(whole.batch), await session.forward(some.batch)];
    let skipped = 0;
    marked.forEach(({ scored }, g) => {
      scored!.forEach((marks, a) => {
        const from = whole.places[g]!.answers[a]!.start;
        const { start, length } = some.places[g]!.answers[a]!;
        const expected = [...marks.keys()].filter((t) => marks[t] === 1).map((t) => all.logProbs[from + t]!);
        skipped += marks.length - expected.length;
        expect(length).toBe(expected.length);
        expected.forEach((logProb, t) => {
          expect(own.logProbs[start + t]).toBeCloseTo(logProb, 5);
        });
      });
    });
    expect(skipped).toBeGreaterThan(5);
  });

  it('counts what it lays out', () => {
    for (const options of [
      { outputs: 'tokens' as const },
      { outputs: 'tokens' as const, scorePrompt: true },
      { outputs: 'values' as const },
    ]) {
      const groups = makeGroups(5, 3);
      const { batch, places } = packGroups(groups, options);
      expect(batch.tokens).toHaveLength(groups.reduce((n, g) => n + groupTokens(g, options.outputs), 0));
      expect(batch.scored).toHaveLength(groups.reduce((n, g) => n + groupScored(g, options), 0));
      expect(batch.targets).toHaveLength(batch.scored.length);
      expect(places.at(-1)!.answers.at(-1)!.start).toBeLessThan(batch.scored.length);
    }
  });

  it('computes a prompt once, with the numbers and the gradients of computing it for each answer', async () => {
    const session = await newSession(1);
    const packed = packGroups(makeGroups(4, 3), { outputs: 'tokens', scorePrompt: true });
    const separate = apart(packed);
    expect(packed.batch.tokens.length).toBeLessThan(separate.tokens.length);
    const weights = packed.batch.scored.map(() => 0);
    const gradient = Float32Array.from(weights, (_, i) => Math.sin(i + 1));
    const read = async (batch: Batch) => {
      const { logProbs } = await session.forward(batch);
      await session.backward({ logProbs: gradient });
      const gradients = new Map<string, Float32Array>();
      for (const { name } of session.tensors())
        gradients.set(name, await session.readTensor(name, 'gradient'));
      await session.clearGradients();
      return { logProbs, gradients };
    };
    const [together, alone] = [await read(packed.batch), await read(separate)];
    together.logProbs.forEach((logProb, i) => {
      expect(Math.abs(logProb - alone.logProbs[i]!)).toBeLessThan(1e-5);
    });
    expectSameGradients(together.gradients, alone.gradients);
  });
});

describe('a step', () => {
  it.each([
    ...kinds.map((kind) => [kind.name, kind, makeGroups] as const),
    ...kinds.map((kind) => {
      const make = (count: number, answers: number) => withMarks(makeGroups(count, answers));
      return [`${kind.name} on answers of several messages`, kind, make] as const;
    }),
  ])('of %s is the same however it is cut', async (_, kind, make) => {
    const session = await newSession(1);
    const reference = liveReference(await newSession(2, false));
    const groups = make(6, kind.answers);
    const whole = await firstStep(session, makeWork(session, reference, groups, kind));
    const cut = await firstStep(
      session,
      makeWork(session, reference, groups, kind, { batchSize: 2, accumulation: 3 }),
    );
    expect(cut.step.microbatches).toBe(3);
    expect(cut.loss).toBeCloseTo(whole.loss, 5);
    for (const [name, value] of Object.entries(whole.metrics)) {
      expect(cut.metrics[name], name).toBeCloseTo(value, 4);
    }
    expectSameGradients(whole.gradients, cut.gradients);
  });

  it.each(kinds)(
    'of $name has the gradient of its loss, by finite differences of the weights',
    async (kind) => {
      const session = await newSession(1);
      const reference = liveReference(await newSession(2, false));
      const groups = makeGroups(4, kind.answers);
      const work = makeWork(session, reference, groups, kind);
      const name = 'model.norm.weight';
      const { gradients } = await firstStep(session, work);
      // One SGD-like direction: the loss after a small AdamW step must fall by about gradient times change.
      const before = await session.readTensor(name, 'weight');
      const step = await work.group(CURSOR, [], noBoundary);
      const { loss } = await work.microbatch(step, 0);
      const all = new Map<string, Float32Array>();
      for (const tensor of session.tensors())
        all.set(tensor.name, await session.readTensor(tensor.name, 'weight'));
      await session.step({
        learningRate: 1e-5,
        beta1: 0,
        beta2: 0,
        epsilon: 1e-12,
        weightDecay: 0,
        maxGradNorm: 0,
        step: 1,
      });
      expect(await session.readTensor(name, 'weight')).not.toEqual(before);
      let predicted = 0;
      for (const [tensor, old] of all) {
        const now = await session.readTensor(tensor, 'weight');
        const gradient = gradients.get(tensor)!;
        now.forEach((value, i) => {
          predicted += (value - old[i]!) * gradient[i]!;
        });
      }
      // The shared numbers of the step are constants to the gradient.
      const after = await work.microbatch(step, 0);
      await session.clearGradients();
      expect(predicted).toBeLessThan(0);
      expect((after.loss - loss) / predicted).toBeGreaterThan(0.9);
      expect((after.loss - loss) / predicted).toBeLessThan(1.1);
    },
  );
});

describe('reference numbers', () => {
  it('are found again by content, bit for bit, and computed again when damaged', async () => {
    const model = await newSession(2, false);
    const objective = dpoObjective(DPO);
    const groups = makeGroups(7, 2);
    const dir = join(folder.path, 'cache');
    const cache = new ContentCache(dir);
    const run = (rows: AnswerGroup[], name = 'model') =>
      precompute(
        rows,
        packOptions(objective),
        { model: name, threads: 1 },
        cache,
        async () => model,
        async () => {},
      );
    const first = await run(groups);
    expect(first).toMatchObject({ found: 0, computed: 7 });
    const second = await run(groups);
    expect(second).toMatchObject({ found: 7, computed: 0 });
    const packed = packGroups(groups, packOptions(objective));
    expect(await second.logProbs(groups, packed)).toEqual(await first.logProbs(groups, packed));
    const live = await liveReference(model).logProbs(groups, packed);
    (await first.logProbs(groups, packed)).forEach((logProb, i) => {
      expect(Math.abs(logProb - live[i]!)).toBeLessThan(1e-5);
    });
    const file = readdirSync(dir, { recursive: true, withFileTypes: true }).find((entry) => entry.isFile())!;
    const path = join(file.parentPath, file.name);
    const bytes = readFileSync(path);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(path, bytes);
    const mended = await run(groups);
    expect(mended).toMatchObject({ found: 0, computed: 7 });
    expect(await mended.logProbs(groups, packed)).toEqual(await first.logProbs(groups, packed));
    expect(await run(groups, 'another')).toMatchObject({ found: 0 });
    expect(await run(groups.slice(1))).toMatchObject({ found: 0 });
  });
});

describe('carried sums', () => {
  it('are found by the place where a step begins, also after the file has been read again', () => {
    const path = join(folder.path, 'sums.jsonl');
    const sums = new CarriedSums(path);
    expect(sums.at({ epoch: 0, index: 0 })).toEqual({});
    sums.leave({ epoch: 0, index: 1 }, { rewards: 0.1 + 0.2, count: 4 });
    sums.leave({ epoch: 0, index: 2 }, { rewards: 1, count: 8 });
    sums.leave({ epoch: 0, index: 2 }, { rewards: 2, count: 7 });
    const again = new CarriedSums(path);
    expect(again.at({ epoch: 0, index: 1 })).toEqual({ rewards: 0.1 + 0.2, count: 4 });
    expect(again.at({ epoch: 0, index: 2 })).toEqual({ rewards: 2, count: 7 });
  });

  it("are BCO's running mean of rewards", async () => {
    const session = await newSession(1);
    const kind = kinds.at(-1)!;
    const groups = makeGroups(4, 1);
    const work = makeWork(session, liveReference(await newSession(2, false)), groups, kind, { batchSize: 2 });
    const first = await work.group(CURSOR, [], noBoundary);
    await work.applied(first, { gradNorm: 1, applied: true }, 1);
    const second = await work.group(first.next, [], noBoundary);
    expect(second.carry.count).toBe(4);
    const shares = [await work.microbatch(first, 0), await work.microbatch(second, 0)];
    await session.clearGradients();
    const rewards = shares.map(({ sums }) => (sums['rewards/chosen'] ?? 0) + (sums['rewards/rejected'] ?? 0));
    expect(first.facts.shared.delta).toBeCloseTo(rewards[0]! / 2, 6);
    expect(second.facts.shared.delta).toBeCloseTo((rewards[0]! + rewards[1]!) / 4, 6);
  });
});
