/** A reference that follows the model (TR-DPO): its weights, what is kept of them, and a stage that is killed. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { loadAddon, type Session } from '../../src/native/addon.ts';
import { MovingReference } from '../../src/preference/moving_reference.ts';
import { temporaryFolder } from '../data/stage_context.ts';
import { architecture, sessionOptions } from '../engine/support.ts';
import { differences, type Fixture, modelFolder, runHere } from '../training/fixture.ts';
import { runWithKills, runWithStops } from '../training/kills.ts';
import { ASSISTANT, makePreferenceFixture, metricsOf, preferenceRecipe } from './fixture.ts';
import { COMMON } from './table.ts';

const folder = temporaryFolder();
const fixtures: Fixture[] = [];
afterAll(() => {
  folder.remove();
  for (const each of fixtures) each.remove();
});
const open: Session[] = [];
afterEach(async () => {
  for (const session of open.splice(0)) await session.close();
});

const addon = loadAddon();
async function session(seed: number, changes: Parameters<typeof sessionOptions>[0] = {}): Promise<Session> {
  const opened = await addon.createSession(
    sessionOptions({ trainable: false, generationSlots: 0, generationLength: 0, ...changes }),
  );
  open.push(opened);
  await opened.initWeights(seed, 0.2);
  return opened;
}

async function weights(of: Session): Promise<number[]> {
  const all: number[] = [];
  for (const { name } of of.tensors()) all.push(...(await of.readTensor(name, 'weight')));
  return all;
}

let folders = 0;
async function follow(model: Session, reference: Session, dir = join(folder.path, `${folders++}`)) {
  const moving = await MovingReference.open({
    addon,
    model,
    reference,
    dir,
    alpha: 0.6,
    every: 2,
    place: 'stages.dpo',
  });
  return { moving, dir };
}

describe('a reference that follows the model', () => {
  it('becomes 0.6 of the model and 0.4 of itself, every second step', async () => {
    const [model, reference] = [await session(1), await session(2)];
    const [ours, before] = [await weights(model), await weights(reference)];
    const { moving } = await follow(model, reference);
    await moving.applied(1);
    expect(await weights(reference)).toEqual(before);
    await moving.applied(2);
    const expected = before.map((weight, i) => Math.fround(0.4 * weight + 0.6 * ours[i]!));
    expect(await weights(reference)).toEqual(expected);
    await moving.applied(4);
    const again = expected.map((weight, i) => Math.fround(0.4 * weight + 0.6 * ours[i]!));
    expect(await weights(reference)).toEqual(again);
  });

  it('goes back to its last snapshot, also to the beginning, and keeps no more files than it needs', async () => {
    const reference = await session(2);
    const { moving, dir } = await follow(await session(1), reference);
    const beginning = await weights(reference);
    await moving.snapshot();
    await moving.applied(2);
    await moving.applied(4);
    await moving.restoreSnapshot();
    expect(await weights(reference)).toEqual(beginning);
    await moving.applied(2);
    const first = await weights(reference);
    await moving.snapshot();
    await moving.applied(4);
    expect(await weights(reference)).not.toEqual(first);
    await moving.restoreSnapshot();
    expect(await weights(reference)).toEqual(first);
    expect(readdirSync(dir)).toHaveLength(1);
  });

  it('is written to a checkpoint and read by another process', async () => {
    const model = await session(1);
    const { moving } = await follow(model, await session(2));
    await moving.snapshot();
    const empty = join(folder.path, 'beginning.bin');
    expect(await moving.writeSnapshot(empty)).toMatchObject({ bytes: 0 });
    await moving.applied(2);
    await moving.snapshot();
    // What is written is the snapshot, wherever the training has come to.
    const path = join(folder.path, 'snapshot.bin');
    const [written] = await Promise.all([moving.writeSnapshot(path), moving.applied(4)]);
    expect(written).toEqual({ bytes: statSync(path).size, crc32c: await addon.crc32cFile(path) });

    const reference = await session(2);
    const beginning = await weights(reference);
    const { moving: resumed } = await follow(model, reference);
    await resumed.readSnapshot(empty);
    expect(await weights(reference)).toEqual(beginning);
    await resumed.readSnapshot(path);
    const other = await session(2);
    const { moving: undisturbed } = await follow(model, other);
    await undisturbed.applied(2);
    expect(await weights(reference)).toEqual(await weights(other));
    // Read, it is the last snapshot too.
    await resumed.applied(4);
    await resumed.restoreSnapshot();
    expect(await weights(reference)).toEqual(await weights(other));
  });

  it('has the architecture of the model', async () => {
    const wider = { ...architecture, intermediateSize: 2 * architecture.intermediateSize };
    await expect(follow(await session(1), await session(2, { architecture: wider }))).rejects.toMatchObject({
      code: 'recipe_invalid',
      path: 'stages.dpo.ref_model',
    });
  });
});

const MOVING = ['sync_ref_model: true', 'ref_model_mixup_alpha: 0.5', 'ref_model_sync_steps: 3'];

describe.each([
  { stage: 'dpo', settings: ['dataset: pairs.jsonl'], calls: 14 },
  { stage: 'kto', settings: ['dataset: labels.jsonl'], calls: 14 },
])('$stage with sync_ref_model', ({ stage, settings, calls }) => {
  const text = preferenceRecipe(stage, [...COMMON, ...settings, ...MOVING]);

  async function fixture(): Promise<Fixture> {
    const made = makePreferenceFixture();
    fixtures.push(made);
    await runHere(made, ASSISTANT);
    return made;
  }

  it('resumes with the same bits, after kill -9 and stopped at every microstep', async () => {
    const [whole, killed, stopped, still] = [
      await fixture(),
      await fixture(),
      await fixture(),
      await fixture(),
    ];
    expect((await runHere(whole, text)).outcome().error).toBeNull();
    await runWithKills(killed, text, 6, 500, 5);
    await runWithStops(stopped, text, calls);
    for (const other of [killed, stopped]) {
      const differing = differences(modelFolder(whole, stage), modelFolder(other, stage));
      expect(differing.filter((name) => name !== 'rows.txt')).toEqual([]);
    }
    // The first three steps are those of a reference that stays, the fourth is not.
    await runHere(still, preferenceRecipe(stage, [...COMMON, ...settings]));
    const losses = (of: Fixture) => metricsOf(of, stage).map(({ loss }) => loss);
    expect(losses(whole).slice(0, 3)).toEqual(losses(still).slice(0, 3));
    expect(losses(whole)[3]).not.toEqual(losses(still)[3]);
  });
});
