/** Adapters, scalar heads and several targets through the addon's TypeScript contract. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type AdapterOptions, loadAddon, type Session, type SessionOptions } from '../../src/native/addon.ts';
import { architecture, makeBatch, meanWeights, sessionOptions, stepOptions } from './support.ts';

const addon = loadAddon();
const folder = mkdtempSync(join(tmpdir(), 'anneal-adapters-'));
afterAll(() => rmSync(folder, { recursive: true }));

const QUERY = 'model.layers.0.self_attn.q_proj';
const adapter: AdapterOptions = {
  modules: [
    { name: QUERY, rank: 4, scale: 2, dropout: 0.25, dora: false },
    { name: 'model.layers.1.mlp.down_proj', rank: 2, scale: 2, dropout: 0, dora: true },
  ],
  replaces: ['model.norm.weight'],
  scoreHead: true,
  trainable: true,
};

async function makeSession(changes: Partial<SessionOptions> = {}): Promise<Session> {
  const session = await addon.createSession(
    sessionOptions({ trainable: false, adapters: [adapter], maxTargets: 128, ...changes }),
  );
  await session.initWeights(1, 0.2);
  await session.initAdapter(0, { seed: 2, kind: 'default' });
  return session;
}

async function train(session: Session, first: number, last: number): Promise<void> {
  for (let step = first; step <= last; step++) {
    const batch = { ...makeBatch(step), adapter: 0, dropoutSeed: step };
    await session.forwardBackward(batch, meanWeights(batch));
    await session.step({ ...stepOptions(step), adapter: 0 });
  }
}

describe('adapters', () => {
  it('lists their tensors by the names of PEFT, and reserves for the trained alone', async () => {
    const session = await makeSession();
    expect(session.tensors(0).map(({ name, shape }) => [name, shape])).toEqual([
      [`${QUERY}.lora_A.weight`, [4, 32]],
      [`${QUERY}.lora_B.weight`, [32, 4]],
      ['model.layers.1.mlp.down_proj.lora_A.weight', [2, 48]],
      ['model.layers.1.mlp.down_proj.lora_B.weight', [32, 2]],
      ['score.weight', [1, 32]],
      ['model.layers.1.mlp.down_proj.lora_magnitude_vector', [32]],
      ['model.norm.weight', [32]],
    ]);
    expect(() => session.tensors(1)).toThrow(/adapter is 1/);
    const full = addon.planSession(sessionOptions());
    expect(session.plan().gradients).toBeLessThan(full.gradients / 10);
    expect(session.plan().snapshot).toBeLessThan(full.snapshot / 10);
    expect(session.plan().trainFlopsPerToken).toBeLessThan(full.trainFlopsPerToken);
    await session.close();
  });

  it('learns while the base stays as it is, and merges into it', async () => {
    const session = await makeSession();
    const batch = makeBatch();
    const before = await session.forward(batch);
    const start = await session.forward({ ...batch, adapter: 0 });
    const sum = (values: Float32Array) => values.reduce((a, b) => a + b, 0);
    expect(Math.abs(sum(start.logProbs) - sum(before.logProbs))).toBeLessThan(1e-3);
    for (let step = 1; step <= 20; step++) {
      await session.forwardBackward({ ...batch, adapter: 0 }, meanWeights(batch));
      expect((await session.step({ ...stepOptions(step), adapter: 0 })).applied).toBe(true);
    }
    const after = await session.forward({ ...batch, adapter: 0 });
    expect(sum(after.logProbs)).toBeGreaterThan(sum(before.logProbs) + 1);
    expect((await session.forward(batch)).logProbs).toEqual(before.logProbs);
    await session.mergeAdapter(0);
    const merged = await session.forward(batch);
    expect(Math.abs(sum(merged.logProbs) - sum(after.logProbs))).toBeLessThan(1e-3);
    await session.close();
  });

  it('goes on with the same bits from a snapshot file', async () => {
    const session = await makeSession();
    await train(session, 1, 2);
    await session.snapshot();
    const path = join(folder, 'state');
    await session.writeSnapshot(path);
    await train(session, 3, 4);
    const other = await makeSession();
    await other.readSnapshot(path);
    await train(other, 3, 4);
    for (const { name } of session.tensors(0)) {
      expect(await other.readTensor(name, 'weight', 0)).toEqual(await session.readTensor(name, 'weight', 0));
    }
    await expect(session.step(stepOptions(5))).rejects.toThrow(/base is frozen/);
    await session.close();
    await other.close();
  });

  it('survives export and import', async () => {
    const session = await makeSession();
    await train(session, 1, 2);
    const path = join(folder, 'weights');
    const names = session.tensors(0).map(({ name }) => name);
    const { bytes } = await session.exportTensors(path, new Uint8Array(0), names, 0);
    expect(readFileSync(path).length).toBe(bytes);
    const other = await makeSession();
    let offset = 0;
    const sources = session.tensors(0).map(({ name, shape }) => {
      const source = { name, path, offset, dtype: 'F32' as const };
      offset += 4 * shape.reduce((a, b) => a * b, 1);
      return source;
    });
    await other.importTensors(sources, 0);
    const batch = { ...makeBatch(), adapter: 0 };
    expect(await other.forward(batch)).toEqual(await session.forward(batch));
    await session.close();
    await other.close();
  });

  it('drops by the seed', async () => {
    const session = await makeSession();
    await train(session, 1, 2);
    const logProbs = async (dropoutSeed?: number) =>
      (
        await session.forward({
          ...makeBatch(),
          adapter: 0,
          ...(dropoutSeed === undefined ? {} : { dropoutSeed }),
        })
      ).logProbs;
    expect(await logProbs(3)).toEqual(await logProbs(3));
    expect(await logProbs(3)).not.toEqual(await logProbs(4));
    expect(await logProbs(3)).not.toEqual(await logProbs());
    await session.close();
  });
});

describe('addAdapter', () => {
  it('gives a session an adapter that is as one from the start', async () => {
    const frozen = { ...adapter, trainable: false };
    const whole = await makeSession({ adapters: [frozen] });
    const grown = await addon.createSession(sessionOptions({ trainable: false }));
    await grown.initWeights(1, 0.2);
    expect(await grown.addAdapter(frozen)).toBe(0);
    expect(grown.tensors(0)).toEqual(whole.tensors(0));
    expect(grown.plan()).toEqual(addon.planSession(sessionOptions({ trainable: false, adapters: [frozen] })));
    for (const session of [whole, grown]) await session.initAdapter(0, { seed: 5, kind: 'random' });
    const batch = { ...makeBatch(), adapter: 0 };
    expect(await grown.forward(batch)).toEqual(await whole.forward(batch));
    expect(await Promise.all([grown.addAdapter(frozen), grown.addAdapter(frozen)])).toEqual([1, 2]);
    const unknown = { ...frozen, replaces: ['model.nothing.weight'] };
    await expect(grown.addAdapter(unknown)).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(grown.addAdapter(adapter)).rejects.toThrow(/nothing is trained/);
    for (const session of [whole, grown]) await session.close();
  });
});

describe('what a pass computes', () => {
  it('gives values alone, or beside the tokens', async () => {
    const session = await makeSession();
    const batch = { ...makeBatch(), adapter: 0 };
    const both = await session.forward({ ...batch, outputs: 'both' });
    const values = await session.forward({ ...batch, targets: new Int32Array(0), outputs: 'values' });
    expect(values.logProbs).toHaveLength(0);
    expect(values.values).toEqual(both.values);
    expect(both.values).toHaveLength(batch.scored.length);
    await session.backward({ values: values.values });
    const gradient = await session.readTensor('score.weight', 'gradient', 0);
    expect(gradient.some((x) => x !== 0)).toBe(true);
    await session.forward({ ...batch, outputs: 'values' });
    await expect(session.backward({ logProbs: both.logProbs })).rejects.toThrow(/logProbs/);
    await expect(session.forward({ ...makeBatch(), outputs: 'values' })).rejects.toThrow(/scoreHead/);
    await session.close();
  });

  it('scores several targets a row as it scores each alone, at a temperature', async () => {
    const session = await makeSession();
    const batch = { ...makeBatch(), temperature: 0.7 };
    const others = batch.targets.map((id) => (id + 5) % architecture.vocabSize);
    const pairs = Int32Array.from([...batch.targets].flatMap((id, i) => [id, others[i]!]));
    const together = await session.forward({ ...batch, targets: pairs, targetsPerRow: 2 });
    const first = await session.forward(batch);
    const second = await session.forward({ ...batch, targets: others });
    expect(together.logProbs.filter((_, i) => i % 2 === 0)).toEqual(first.logProbs);
    expect(together.logProbs.filter((_, i) => i % 2 === 1)).toEqual(second.logProbs);
    expect(together.entropies).toEqual(first.entropies);
    await expect(session.forward({ ...batch, targetsPerRow: 2 })).rejects.toThrow(/targets/);
    await expect(session.forward({ ...batch, temperature: 0 })).rejects.toThrow(/temperature/);
    await session.close();
  });

  it('finds the most likely tokens', async () => {
    const session = await makeSession();
    const batch = makeBatch();
    const k = 5;
    const { ids, logProbs } = await session.topLogProbs(batch, k);
    expect(ids).toHaveLength(batch.scored.length * k);
    const scored = await session.forward({ ...batch, targets: ids.filter((_, i) => i % k === 0) });
    expect(logProbs.filter((_, i) => i % k === 0)).toEqual(scored.logProbs);
    const logits = await session.logits(batch);
    const row = logits.subarray(0, architecture.vocabSize);
    expect(ids[0]).toBe(row.indexOf(Math.max(...row)));
    await expect(session.topLogProbs(batch, 62)).rejects.toThrow(/k is 62/);
    await session.close();
  });
});
