/**
 * On-policy distillation on a real engine: the divergence against a float64 statement over whole logits, its gradient
 * against the change that a small step makes, and steps that do not depend on how they are cut or taken up again.
 */
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { DataRandom } from '../../src/data/random.ts';
import { loadAddon, type Session } from '../../src/native/addon.ts';
import { answerSource, type DistillRow } from '../../src/preference/distillation_draws.ts';
import {
  type DistillStep,
  DistillWork,
  type DistillWorkOptions,
} from '../../src/preference/distillation_work.ts';
import { packSamples } from '../../src/rollout/pack.ts';
import { RolloutStore } from '../../src/rollout/store.ts';
import { temporaryFolder } from '../data/stage_context.ts';
import { architecture, sessionOptions } from '../engine/support.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const open: Session[] = [];
afterEach(async () => {
  for (const session of open.splice(0)) await session.close();
});

const V = architecture.vocabSize;
const STOP = 1;
const ROWS_AT_MOST = 512;

async function newSession(seed: number, trainable = true): Promise<Session> {
  const room = { maxTokens: ROWS_AT_MOST, maxSequences: 64, maxScored: ROWS_AT_MOST, generationSlots: 4 };
  const maxTargets = ROWS_AT_MOST * V;
  const session = await loadAddon().createSession(
    sessionOptions({ ...room, maxTargets, generationLength: 64, trainable }),
  );
  open.push(session);
  await session.initWeights(seed, 0.2);
  return session;
}

const random = new DataRandom('gkd work');
const ids = (length: number) => Int32Array.from({ length }, () => 2 + random.below(V - 2));
const rows: DistillRow[] = Array.from({ length: 6 }, (_, i) => ({
  origin: `rows.jsonl:${i + 1}`,
  prompt: ids(1 + random.below(9)),
  answer: Int32Array.of(...ids(1 + random.below(6)), STOP),
}));

let folders = 0;
function makeWork(
  student: Session,
  teacher: Session,
  changes: Partial<DistillWorkOptions> = {},
): DistillWork {
  return new DistillWork({
    student,
    studentFields: {},
    teacher,
    rows,
    draw: {
      maxCompletionLength: 8,
      temperature: 0.9,
      topK: 0,
      topP: 1,
      minP: 0,
      repetitionPenalty: 1,
      stopIds: [STOP],
    },
    maxLength: 14,
    atOnce: 4,
    seed: 3,
    store: new RolloutStore(join(folder.path, `work-${folders++}`), 'artifact', 1),
    lmbda: 1,
    seq_kd: false,
    divergence: { beta: 0.5, temperature: 1, k: 8, vocabSize: V },
    batchSize: rows.length,
    accumulation: 1,
    length: { epochs: 1 },
    validation: undefined,
    ...changes,
  });
}

const CURSOR = { epoch: 0, index: 0 };
const noBoundary = async () => {};

/** Loss and metrics of a step; its gradients stay in the engine. */
async function run(work: DistillWork, step: DistillStep) {
  let loss = 0;
  const sums: Record<string, number> = {};
  for (let m = 0; m < step.microbatches; m++) {
    const share = await work.microbatch(step, m);
    loss += share.loss;
    for (const [name, value] of Object.entries(share.sums)) sums[name] = (sums[name] ?? 0) + value;
  }
  return { loss, metrics: work.metrics(sums, step) };
}

async function readAll(session: Session, what: 'weight' | 'gradient'): Promise<Map<string, Float32Array>> {
  const all = new Map<string, Float32Array>();
  for (const { name } of session.tensors()) all.set(name, await session.readTensor(name, what));
  return all;
}

/** The divergence of a row in double precision, over the tokens of `support` and one outcome for the others. */
function divergence(p: Float64Array, q: Float64Array, support: readonly number[], beta: number): number {
  const lump = (all: Float64Array) => {
    const own = support.map((i) => all[i]!);
    return support.length === V ? own : [...own, 1 - own.reduce((a, b) => a + b, 0)];
  };
  const kl = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * Math.log(x / b[i]!), 0);
  const [t, s] = [lump(p), lump(q)];
  if (beta === 0) return kl(t, s);
  if (beta === 1) return kl(s, t);
  const m = t.map((x, i) => beta * x + (1 - beta) * s[i]!);
  return beta * kl(t, m) + (1 - beta) * kl(s, m);
}

function softmax(logits: Float32Array, temperature: number): Float64Array {
  const scaled = Float64Array.from(logits, (z) => z / temperature);
  const most = scaled.reduce((a, b) => Math.max(a, b));
  const total = scaled.reduce((sum, z) => sum + Math.exp(z - most), 0);
  return scaled.map((z) => Math.exp(z - most) / total);
}

const cases = [0, 0.3, 1].flatMap((beta) =>
  [5, V].flatMap((k) => [1, 2].map((temperature) => ({ beta, k, temperature }))),
);

describe('the divergence', () => {
  it.each(cases)(
    'beta $beta over $k tokens at temperature $temperature',
    async ({ beta, k, temperature }) => {
      const [student, teacher] = [await newSession(1), await newSession(2, false)];
      const work = makeWork(student, teacher, { divergence: { beta, temperature, k, vocabSize: V } });
      const step = await work.group(CURSOR, [], noBoundary);
      const { loss } = await run(work, step);
      const batch = packSamples(step.microbatchSamples.flat());
      const [q, p] = [await student.logits(batch), await teacher.logits(batch)];
      let [expected, exact] = [0, 0];
      for (let n = 0; n < batch.scored.length; n++) {
        const [own, theirs] = [q, p].map((logits) =>
          softmax(logits.subarray(n * V, (n + 1) * V), temperature),
        );
        const order = beta === 1 ? own! : theirs!;
        const support = [...order.keys()].sort((a, b) => order[b]! - order[a]!).slice(0, k);
        expected += divergence(theirs!, own!, support, beta) / batch.scored.length;
        exact += divergence(theirs!, own!, [...order.keys()], beta) / batch.scored.length;
      }
      expect(batch.scored.length).toBe(step.answerTokens);
      expect(Math.abs(loss - expected)).toBeLessThan(1e-5 * expected);
      // Lumping tokens together never adds to it.
      expect(expected).toBeLessThanOrEqual(exact + 1e-12);
    },
  );

  it.each(cases)(
    'has the gradient of beta $beta over $k tokens at temperature $temperature',
    async ({ beta, k, temperature }) => {
      const [student, teacher] = [await newSession(1), await newSession(2, false)];
      const work = makeWork(student, teacher, { divergence: { beta, temperature, k, vocabSize: V } });
      const step = await work.group(CURSOR, [], noBoundary);
      const { loss } = await run(work, step);
      const [gradients, before] = [await readAll(student, 'gradient'), await readAll(student, 'weight')];
      await student.step({
        learningRate: 1e-5,
        beta1: 0,
        beta2: 0,
        epsilon: 1e-12,
        weightDecay: 0,
        maxGradNorm: 0,
        step: 1,
      });
      let predicted = 0;
      for (const [name, now] of await readAll(student, 'weight')) {
        const [old, gradient] = [before.get(name)!, gradients.get(name)!];
        now.forEach((value, i) => {
          predicted += (value - old[i]!) * gradient[i]!;
        });
      }
      const after = await run(work, step);
      expect(predicted).toBeLessThan(0);
      expect((after.loss - loss) / predicted).toBeGreaterThan(0.95);
      expect((after.loss - loss) / predicted).toBeLessThan(1.05);
    },
  );
});

describe('a step', () => {
  it('is the same however it is cut', async () => {
    const [student, teacher] = [await newSession(1), await newSession(2, false)];
    const runs: Awaited<ReturnType<typeof run>>[] = [];
    const gradients: Map<string, Float32Array>[] = [];
    for (const cut of [{}, { batchSize: 2, accumulation: 3 }]) {
      const work = makeWork(student, teacher, cut);
      runs.push(await run(work, await work.group(CURSOR, [], noBoundary)));
      gradients.push(await readAll(student, 'gradient'));
      await student.clearGradients();
    }
    const [whole, parts] = runs;
    expect(parts!.loss).toBeCloseTo(whole!.loss, 6);
    for (const [name, value] of Object.entries(whole!.metrics))
      expect(parts!.metrics[name], name).toBeCloseTo(value, 4);
    for (const [name, left] of gradients[0]!) {
      const scale = left.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
      gradients[1]!.get(name)!.forEach((g, i) => {
        expect(Math.abs(g - left[i]!), name).toBeLessThan(2e-5 * scale + 1e-9);
      });
    }
  });

  it('is found on disk, and written again to the bit without it', async () => {
    const [student, teacher] = [await newSession(1), await newSession(2, false)];
    const store = new RolloutStore(join(folder.path, 'kept'), 'artifact', 1);
    const answers = async (changes: Partial<DistillWorkOptions>) => {
      const step = await makeWork(student, teacher, { batchSize: 2, accumulation: 3, ...changes }).group(
        CURSOR,
        [],
        noBoundary,
      );
      return step.microbatchSamples.flat().map(({ ids: own }) => [...own]);
    };
    const first = await answers({ store });
    expect(await answers({})).toEqual(first);
    expect(await answers({ seed: 4 })).not.toEqual(first);
    await student.initWeights(9, 0.2);
    expect(await answers({ store })).toEqual(first);
    expect(await answers({})).not.toEqual(first);
  });

  it('takes its answers from student, teacher and dataset by the coin', async () => {
    const [student, teacher] = [await newSession(1), await newSession(2, false)];
    const shape = { batchSize: 1, accumulation: 6, lmbda: 0.5 };
    const own = await makeWork(student, teacher, shape).group(CURSOR, [], noBoundary);
    expect(new Set(own.sources)).toEqual(new Set(['student', 'dataset']));
    own.microbatchSamples.forEach(([sample], m) => {
      const { answer } = rows[own.rows[m]![0]!]!;
      if (own.sources[m] === 'dataset') expect(sample!.ids).toEqual(answer);
      else expect(sample!.ids).not.toEqual(answer);
      expect(sample!.prompt.length + sample!.ids.length).toBeLessThanOrEqual(14 + 1);
    });
    const taught = await makeWork(student, teacher, { ...shape, seq_kd: true }).group(CURSOR, [], noBoundary);
    expect(taught.sources).toEqual(own.sources.map((source) => (source === 'dataset' ? 'teacher' : source)));
    taught.microbatchSamples.forEach((samples, m) => {
      if (taught.sources[m] === 'student') expect(samples).toEqual(own.microbatchSamples[m]);
    });
    const swapped = await makeWork(teacher, student, { ...shape, seq_kd: true }).group(
      CURSOR,
      [],
      noBoundary,
    );
    const byTeacher = taught.sources.indexOf('teacher');
    expect(swapped.microbatchSamples[byTeacher]).not.toEqual(taught.microbatchSamples[byTeacher]);
    const shares = Array.from({ length: 2_000 }, (_, m) =>
      answerSource({ lmbda: 0.3, seq_kd: false }, 1, m, 0),
    );
    expect(shares.filter((source) => source === 'student').length / 2_000).toBeCloseTo(0.3, 1);
  });

  it('leaves rows out that are set aside, and passes over a step without any', async () => {
    const [student, teacher] = [await newSession(1), await newSession(2, false)];
    const work = makeWork(student, teacher, { batchSize: 2, accumulation: 1, length: { steps: 9 } });
    expect(work.totalSteps).toBe(9);
    const first = await work.group(CURSOR, [], noBoundary);
    const again = await work.group(CURSOR, [{ from: CURSOR, rows: first.rows.flat() }], noBoundary);
    expect(again.rows.flat().filter((row) => first.rows.flat().includes(row))).toEqual([]);
    expect([first.next, again.next]).toEqual([
      { epoch: 1, index: 0 },
      { epoch: 2, index: 0 },
    ]);
    expect(work.origin(first.rows[0]![0]!)).toMatch(/^rows\.jsonl:\d$/);
    expect(work.epochsAt({ epoch: 3, index: 0 })).toBe(1);
    const one = await work.group(CURSOR, [{ from: CURSOR, rows: first.rows[0]!.slice(0, 1) }], noBoundary);
    expect(one.microbatchSamples[0]!.map(({ ids: own }) => own)).toEqual([
      first.microbatchSamples[0]![1]!.ids,
    ]);
    const all = [{ from: CURSOR, rows: [0, 1, 2, 3, 4, 5] }];
    await expect(work.group(CURSOR, all, noBoundary)).rejects.toMatchObject({ code: 'data_empty' });
  });
});
