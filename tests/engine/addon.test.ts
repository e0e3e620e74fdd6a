/** The addon through its TypeScript contract: results, errors, and the bindings of the tokenizer. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadAddon, type Session, type SessionOptions } from '../../src/native/addon.ts';
import { textBatch } from '../../src/native/text_batch.ts';
import { encoderOptionsOf } from '../../src/tokenizer/tokenizer_json.ts';
import {
  architecture,
  makeBatch,
  meanWeights,
  requests,
  sampling,
  sessionOptions,
  stepOptions,
} from './support.ts';

const addon = loadAddon();
const folder = mkdtempSync(join(tmpdir(), 'anneal-addon-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function makeSession(changes: Partial<SessionOptions> = {}): Promise<Session> {
  const session = await addon.createSession(sessionOptions(changes));
  await session.initWeights(1, 0.2);
  return session;
}

async function allWeights(session: Session): Promise<Float32Array[]> {
  return Promise.all(session.tensors().map(({ name }) => session.readTensor(name, 'weight')));
}

async function train(session: Session, first: number, last: number): Promise<void> {
  for (let step = first; step <= last; step++) {
    const batch = makeBatch(step);
    await session.forwardBackward(batch, meanWeights(batch));
    await session.step(stepOptions(step));
  }
}

describe('session', () => {
  it('lists its tensors and plans as planSession does', async () => {
    const session = await makeSession();
    const tensors = session.tensors();
    expect(tensors[0]).toEqual({ name: 'model.embed_tokens.weight', shape: [61, 32] });
    const count = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    const plan = session.plan();
    expect(plan).toEqual(addon.planSession(sessionOptions()));
    expect(plan.parameters).toBe(count);
    const { weights, gradients, optimizer, activations, workspace, kvCache, snapshot } = plan;
    expect(plan.total).toBe(weights + gradients + optimizer + activations + workspace + kvCache + snapshot);
    // Keys and values, layers, slots, rows, heads, size (in whole vectors), bytes.
    expect(kvCache).toBe(2 * 2 * 2 * 4096 * 2 * 16 * 4);
    expect(addon.planSession(sessionOptions({ generationRows: 5000 })).kvCache).toBe(
      2 * 2 * 5008 * 2 * 16 * 4,
    );
    expect(addon.planSession(sessionOptions({ recompute: true })).activations).toBeLessThan(activations);
    await session.close();
  });

  it('learns: the loss of a batch falls', async () => {
    const session = await makeSession();
    const batch = makeBatch();
    const loss = async () => -(await session.forward(batch)).logProbs.reduce((a, b) => a + b, 0);
    const before = await loss();
    for (let step = 1; step <= 30; step++) {
      await session.forwardBackward(batch, meanWeights(batch));
      expect((await session.step(stepOptions(step))).applied).toBe(true);
    }
    expect(await loss()).toBeLessThan(before / 2);
    await session.close();
  });

  it('computes the same forward and backward apart as together', async () => {
    const session = await makeSession();
    const batch = makeBatch();
    const weights = meanWeights(batch);
    const together = await session.forwardBackward(batch, weights);
    const gradient = await session.readTensor('model.layers.1.self_attn.q_proj.weight', 'gradient');
    await session.step({ ...stepOptions(1), learningRate: 0, weightDecay: 0 });
    const apart = await session.forward(batch);
    await session.backward({ logProbs: weights.map((w) => -w) });
    expect(apart.logProbs.length).toBe(batch.scored.length);
    apart.logProbs.forEach((value, i) => {
      expect(value).toBeCloseTo(together.logProbs[i]!, 5);
    });
    const again = await session.readTensor('model.layers.1.self_attn.q_proj.weight', 'gradient');
    again.forEach((value, i) => {
      expect(value).toBeCloseTo(gradient[i]!, 5);
    });
    const logits = await session.logits(batch);
    expect(logits.length).toBe(batch.scored.length * architecture.vocabSize);
    await session.close();
  });

  it('goes back to a snapshot, and on from its file, with the same bits, while the file is written', async () => {
    const path = join(folder, 'state');
    const session = await makeSession();
    await train(session, 1, 3);
    await session.snapshot();
    const writing = session.writeSnapshot(path);
    await train(session, 4, 6);
    const expected = await allWeights(session);
    const { bytes, crc32c } = await writing;
    expect(readFileSync(path).length).toBe(bytes);
    expect(await addon.crc32cFile(path)).toBe(crc32c);

    await session.restoreSnapshot();
    await train(session, 4, 6);
    expect(await allWeights(session)).toEqual(expected);
    await session.close();

    const other = await addon.createSession(sessionOptions());
    await other.readSnapshot(path);
    await train(other, 4, 6);
    expect(await allWeights(other)).toEqual(expected);
    writeFileSync(path, readFileSync(path).fill(1, 1000, 1001));
    await expect(other.readSnapshot(path)).rejects.toMatchObject({ code: 'artifact_corrupt' });
    await other.close();
  });

  it('exports tensors behind a header and imports them again', async () => {
    const path = join(folder, 'weights');
    const session = await makeSession();
    const header = new TextEncoder().encode('{"a":1} ');
    const names = session
      .tensors()
      .map((t) => t.name)
      .reverse();
    const { bytes, crc32c } = await session.exportTensors(path, header, names);
    expect(bytes).toBe(header.length + 4 * session.plan().parameters);
    expect(await addon.crc32cFile(path)).toBe(crc32c);
    expect(readFileSync(path).subarray(0, header.length)).toEqual(Buffer.from(header));

    const other = await addon.createSession(sessionOptions({ trainable: false }));
    const sizes = new Map(session.tensors().map((t) => [t.name, t.shape.reduce((a, b) => a * b, 1)]));
    let offset = header.length;
    for (const name of names) {
      await other.importTensors([{ name, path, offset, dtype: 'F32' }]);
      offset += 4 * sizes.get(name)!;
    }
    expect(await allWeights(other)).toEqual(await allWeights(session));
    await Promise.all([session.close(), other.close()]);
  });
});

describe('errors', () => {
  it('names the option that is wrong', async () => {
    await expect(addon.createSession(sessionOptions({ maxTokens: 0 }))).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('maxTokens is 0'),
    });
    const odd = { ...architecture, headDim: 7 };
    expect(() => addon.planSession(sessionOptions({ architecture: odd }))).toThrow('headDim is 7');
    const unknown = { ...architecture, norm: 'batchnorm' } as unknown as typeof architecture;
    expect(() => addon.planSession(sessionOptions({ architecture: unknown }))).toThrow(
      "options.architecture.norm must be one of 'rmsnorm' 'layernorm'",
    );
    expect(() => addon.planSession({} as SessionOptions)).toThrow('options.architecture must be an object');
  });

  it('rejects bad batches, files and orders, and goes on working', async () => {
    const session = await makeSession();
    const batch = makeBatch();
    const rejects = async (promise: Promise<unknown>, code: string, message: string) =>
      expect(promise).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    await rejects(
      session.forward({ ...batch, tokens: batch.tokens.map(() => 61) }),
      'invalid_argument',
      'tokens[0]',
    );
    const doubles = { ...batch, tokens: Float64Array.from(batch.tokens) as unknown as Int32Array };
    await rejects(session.forward(doubles), 'invalid_argument', 'batch.tokens must be an Int32Array');
    await rejects(
      session.forwardBackward(batch, new Float32Array(2)),
      'invalid_argument',
      'weights has 2 elements',
    );
    await rejects(session.backward({ logProbs: new Float32Array(2) }), 'invalid_argument', 'no forward');
    await rejects(
      session.readTensor('lm_head.weight', 'weight'),
      'invalid_argument',
      "named 'lm_head.weight'",
    );
    await rejects(session.restoreSnapshot(), 'invalid_argument', 'no snapshot');
    await rejects(session.readSnapshot(join(folder, 'absent')), 'ENOENT', 'absent');
    await rejects(session.exportTensors('/dev/full', new Uint8Array(1), []), 'ENOSPC', '/dev/full');
    const source = {
      name: 'model.norm.weight',
      path: join(folder, 'short'),
      offset: 0,
      dtype: 'F32',
    } as const;
    writeFileSync(source.path, 'short');
    await rejects(session.importTensors([source]), 'model_invalid', "needs 128 bytes from byte 0 of '");
    await rejects(session.generate(requests([new Int32Array()])), 'invalid_argument', 'prompt is empty');
    const one = Int32Array.of(1);
    await rejects(session.generate(requests([one], sampling({ topP: 0 }))), 'invalid_argument', 'topP');
    const [request] = requests([one]);
    const constraint = { transitions: new Int32Array(256).fill(-1), accepting: Uint8Array.of(1) };
    await rejects(session.generate([{ ...request!, constraint }]), 'invalid_argument', 'setVocabulary');
    const wrong = { ...constraint, accepting: Uint8Array.of(1, 1) };
    await rejects(session.generate([{ ...request!, constraint: wrong }]), 'invalid_argument', 'transitions');
    expect((await session.forward(batch)).logProbs.length).toBe(batch.scored.length);
    await session.close();
  });

  it('does not let a session be made by hand', async () => {
    const session = await makeSession();
    const SessionClass = session.constructor as new () => Session;
    expect(() => new SessionClass()).toThrow('use createSession');
    await session.close();
  });
});

describe('machine', () => {
  it('says what it has and how fast it multiplies', async () => {
    expect(['avx512', 'avx2', 'baseline']).toContain(addon.machineInfo().simd);
    expect(addon.machineInfo().blas).toMatch(/^OpenBLAS \w/);
    expect(await addon.measureMatrixSpeed(1)).toBeGreaterThan(1e8);
  });

  it('checks files', async () => {
    const path = join(folder, 'digits');
    writeFileSync(path, '123456789');
    expect(await addon.crc32cFile(path)).toBe(0xe3069283);
    await expect(addon.crc32cFile(join(folder, 'absent'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('tokenizer', () => {
  const text = new TextEncoder().encode('low lower lowest low low newest newest widest');

  it('trains merges and encodes with them, alone and in batches', async () => {
    const trainer = addon.createBpeTrainer({ pattern: 'gpt2', threads: 1 });
    await trainer.feed(textBatch([text]));
    const merges = await trainer.train({ merges: 10, minFrequency: 1 });
    expect(merges.length).toBe(20);
    const encoder = addon.createBpeEncoder(
      encoderOptionsOf({ pattern: 'gpt2', merges, specialTokens: [] }, 2),
    );
    const encoded = encoder.encode(text, false);
    expect(encoded.length).toBeLessThan(text.length);
    const batch = await encoder.encodeBatch(textBatch([text, '', text]), false);
    expect([...batch.ids]).toEqual([...encoded, ...encoded]);
    expect([...batch.ends]).toEqual([encoded.length, encoded.length, 2 * encoded.length]);
  });

  it('refuses what does not fit, and can be cancelled', async () => {
    const pattern = 'gpt3' as 'gpt2';
    expect(() => addon.createBpeTrainer({ pattern, threads: 1 })).toThrow("one of 'gpt2' 'gpt2_digits'");
    const options = encoderOptionsOf({ pattern: 'gpt2', merges: new Int32Array(), specialTokens: [] }, 1);
    const changed = (change: object): (() => unknown) => {
      const model = { ...options.model, ...change };
      return () => addon.createBpeEncoder({ ...options, model });
    };
    expect(changed({ merges: Int32Array.of(0, 1) })).toThrow('triples');
    expect(changed({ merges: Int32Array.of(0, 1, 1 << 20) })).toThrow('merge 0 has the id 1048576');
    expect(changed({ merges: Int32Array.of(0, -1, 1) })).toThrow('merge 0 has the id -1');
    expect(changed({ byteIds: new Int32Array(255) })).toThrow('256 bytes');
    expect(changed({ byteIds: new Int32Array(256).fill(-1) })).toThrow('negative');
    const trainer = addon.createBpeTrainer({ pattern: 'gpt2', threads: 1 });
    await trainer.feed(textBatch([text]));
    await expect(
      trainer.train({ merges: 10, minFrequency: 1, signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: 'cancelled' });
    const bytes = new Uint8Array(4);
    for (const ends of [[5], [3, 2, 4], [Number.NaN, 4], [-1, 4], [3], []]) {
      await expect(trainer.feed({ bytes, ends: Float64Array.from(ends) })).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining('documents.ends'),
      });
    }
  });
});
