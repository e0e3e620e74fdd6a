/** The self-test of a whole recipe, and that each of its checks can fail. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AdapterOptions, loadAddon, type Session, type SessionOptions } from '../../src/native/addon.ts';
import { checkStep } from '../../src/selftest/checks.ts';
import { type Recording, recordingAddon, TestEnded } from '../../src/selftest/recorder.ts';
import { temporaryFolder } from '../daemon/harness.ts';
import { architecture } from '../engine/support.ts';
import { type Fixture, makeFixture, recipeText, runHere } from '../training/fixture.ts';

let fixture: Fixture;
beforeAll(() => {
  fixture = makeFixture();
});
afterAll(() => fixture.remove());

const TEXT = recipeText({ pretrain: ['max_steps: 2'], sft: ['max_steps: 4'] });

describe('a self-test', () => {
  it('tests what has its inputs, and all once the recipe was run', async () => {
    const first = await runHere(fixture, TEXT, { selftest: [] });
    expect(first.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const table = first.events('report').map(({ body }) => [body.stage, body.rows.map((row) => row[0])]);
    expect(table).toEqual([
      [
        'pretrain',
        [
          'the same batch again: gradient',
          'forward, then backward: gradient',
          'accumulated in microbatches: gradient',
          'packed in another order: gradient',
          'sampler and trainer: log-probs',
          'step, back to the snapshot, step: weights',
          'saved and loaded: log-probs',
          'resumed from a file, step: weights',
          'activations recomputed: gradient',
        ],
      ],
    ]);
    expect(first.events('report')[0]!.body.rows.map((row) => row[1])).toEqual(Array(9).fill('pass'));
    const phases = first.events('stage').map(({ body }) => `${body.stage} ${body.phase}`);
    expect(phases).toContain('sft skipped');
    const asked = await runHere(fixture, TEXT, { job: 'j2', selftest: ['sft'] });
    expect(asked.outcome().error).toMatchObject({ code: 'recipe_reference', path: 'selftest' });

    expect((await runHere(fixture, TEXT, { job: 'j3' })).outcome().outcome).toBe('succeeded');
    const all = await runHere(fixture, TEXT, { job: 'j4', selftest: [] });
    expect(all.outcome()).toEqual({ outcome: 'succeeded', error: null });
    expect(all.events('report').map(({ body }) => body.stage)).toEqual(['pretrain', 'sft']);
  });

  it('refuses stages that are not there or do not train', async () => {
    const wrong = await runHere(fixture, TEXT, { job: 'j5', selftest: ['sfd'] });
    expect(wrong.outcome().error).toEqual({
      code: 'recipe_reference',
      message: 'The recipe has no stage sfd.',
      path: 'selftest',
      hint: 'Did you mean sft?',
    });
    const idle = await runHere(fixture, TEXT, { job: 'j6', selftest: ['prepare'] });
    expect(idle.outcome().error?.message).toBe('Stage prepare trains nothing that could be tested.');
    const none = 'stages: { tokenizer: { files: [corpus.jsonl] } }';
    const nothing = await runHere(fixture, none, { job: 'j7', selftest: [] });
    expect(nothing.outcome().error?.message).toMatch(/^No stage of the recipe trains/);
  });
});

const OPTIONS: SessionOptions = {
  architecture: { ...architecture, vocabSize: 64, maxPositions: 64 },
  threads: 1,
  trainable: true,
  maxTokens: 64,
  maxSequences: 64,
  maxScored: 64,
  recompute: false,
  generationSlots: 1,
  generationLength: 48,
};
const STEP = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
  step: 1,
};

/**
 * A stage of two microbatches, one with shared prefixes; `fault` may change a session that the checks get. With
 * `adapter` that is trained, and the base is frozen.
 */
async function check(
  fault: (session: Session, place: number) => Session = (session) => session,
  adapter?: AdapterOptions,
) {
  const addon = loadAddon();
  let place = 0;
  const faulty = { ...addon } as typeof addon;
  faulty.planSession = addon.planSession.bind(addon);
  faulty.createSession = async (options) => fault(await addon.createSession(options), place++);
  let checks: Awaited<ReturnType<typeof checkStep>> = [];
  const recorded = recordingAddon(faulty, async (recordings: Recording[], step) => {
    checks = await checkStep(faulty, recordings, step, temporaryFolder());
  });
  const session = await recorded.createSession(
    adapter ? { ...OPTIONS, trainable: false, adapters: [adapter] } : OPTIONS,
  );
  await session.initWeights(3, 0.1);
  if (adapter) await session.initAdapter(0, { seed: 4, kind: 'default' });
  const weights = adapter ? { adapter: 0 } : {};
  const tokens = Int32Array.from({ length: 24 }, (_, i) => (i * 7 + 3) % 64);
  const cuSeqlens = Int32Array.from([0, 10, 16, 24]);
  const scored = Int32Array.from([9, 10, 12, 17, 20]);
  const targets = Int32Array.from([5, 6, 7, 8, 9]);
  await session.forwardBackward(
    { tokens, cuSeqlens, scored, targets, ...weights },
    Float32Array.from([1, 2, -1, 0.5, 1]),
  );
  const prefix = Int32Array.from([-1, 0, 0]);
  await session.forward({ tokens, cuSeqlens, scored, targets, prefix, ...weights });
  await session.backward({ logProbs: Float32Array.from([1, -1, 2, 0.5, 1]) });
  await expect(session.step({ ...STEP, ...weights })).rejects.toBeInstanceOf(TestEnded);
  return Object.fromEntries(checks.map(({ name, ok }) => [name, ok]));
}

/** A session with some methods changed. */
function changed(session: Session, methods: Partial<Session>): Session {
  return new Proxy(session, {
    get(target, key) {
      const member: unknown = Reflect.get(methods, key) ?? Reflect.get(target, key, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

const failed = (checks: Record<string, boolean>) => Object.keys(checks).filter((name) => !checks[name]);

describe('the checks', () => {
  it('hold on a sound engine, shared prefixes included', async () => {
    const checks = await check();
    expect(failed(checks)).toEqual([]);
    expect(Object.keys(checks)).toContain('without shared prefixes: gradient');
  });

  it('fail where a prefix is not attended to', async () => {
    const checks = await check((session) =>
      changed(session, { forward: ({ prefix: _, ...batch }) => session.forward(batch) }),
    );
    expect(failed(checks)).toEqual(['without shared prefixes: gradient']);
  });

  it('fail where the sampler has other log-probs', async () => {
    const checks = await check((session) =>
      changed(session, {
        generate: async (...args) => {
          const completions = await session.generate(...args);
          for (const { logProbs } of completions) logProbs[1]! += 3e-5;
          return completions;
        },
      }),
    );
    expect(failed(checks)).toEqual(['sampler and trainer: log-probs']);
  });

  it('fail where the sampler leaves the adapter out, which changes nothing at its start', async () => {
    const module = 'model.layers.0.self_attn.q_proj';
    const adapter: AdapterOptions = {
      modules: [{ name: module, rank: 4, scale: 2, dropout: 0, dora: false }],
      replaces: [],
      trainable: true,
    };
    const sound = await check(undefined, adapter);
    expect(failed(sound)).toEqual([]);
    const random = 'sampler and trainer, adapter of random numbers: log-probs';
    expect(Object.keys(sound)).toContain(random);
    const checks = await check(
      (session) =>
        changed(session, {
          generate: (requests) => session.generate(requests.map(({ adapter: _, ...request }) => request)),
        }),
      adapter,
    );
    expect(failed(checks)).toEqual([random]);
  });

  it('fail where a snapshot, a file or a loaded session is not the same', async () => {
    const kept = await check((session) => changed(session, { restoreSnapshot: async () => {} }));
    expect(failed(kept)).toContain('step, back to the snapshot, step: weights');
    const unread = await check((session, place) =>
      place === 1 ? changed(session, { readSnapshot: async () => {} }) : session,
    );
    expect(failed(unread)).toEqual(['resumed from a file, step: weights']);
    const unloaded = await check((session, place) =>
      place === 1 ? changed(session, { importTensors: () => session.initWeights(9, 0.1) }) : session,
    );
    expect(failed(unloaded)).toContain('saved and loaded: log-probs');
    const other = await check((session, place) =>
      place === 2 ? changed(session, { importTensors: () => session.initWeights(9, 0.1) }) : session,
    );
    expect(failed(other)).toEqual(['activations recomputed: gradient']);
  });
});
