/**
 * A work taken up again: from any step, with or without the rollouts that were drawn behind it, it ends with the same
 * bits; rows that are set aside are left out and nothing else changes.
 */
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Session } from '../../src/native/addon.ts';
import type { Algorithm } from '../../src/rollout/algorithm.ts';
import { grpo } from '../../src/rollout/group_relative.ts';
import type { RolloutWork } from '../../src/rollout/work.ts';
import type { Cursor } from '../../src/training/work.ts';
import { stepOptions, taskWork, weakPolicy } from './task.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-rl-resume-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const STEPS = 12;
const algorithm = grpo({
  lossType: 'dapo',
  level: 'token',
  clip: { low: 0.2, high: 0.2 },
  beta: 0,
  entropyCoef: 0,
  scaleRewards: 'group',
  maskTruncated: true,
}) as Algorithm;

/** Two passes of two steps a rollout: step 4 r + i is in rollout r. */
const workIn = (session: Session, folder: string): RolloutWork =>
  taskWork({
    session,
    algorithm,
    seed: 5,
    steps: STEPS,
    learningRate: 3e-3,
    dir: folder,
    work: { plan: { passes: 2, batchSize: 32, accumulation: 2, seed: 5 } },
  });

interface Mark {
  step: number;
  cursor: Cursor;
}
type SetAside = { from: Cursor; rows: number[] }[];

/** Trains from a mark to the end; a snapshot and a mark are left before each step of `marks`. */
async function train(
  session: Session,
  work: RolloutWork,
  from: Mark,
  setAside: SetAside,
  onStep: (mark: Mark) => Promise<void> = async () => {},
): Promise<Float32Array> {
  let { step, cursor } = from;
  for (; step < STEPS; step++) {
    await onStep({ step, cursor });
    const group = await work.group(cursor, setAside, async () => {});
    for (let m = 0; m < group.microbatches; m++) await work.microbatch(group, m);
    await session.step(stepOptions(31 + step, 3e-3));
    cursor = group.next;
  }
  return session.readTensor('model.layers.1.mlp.down_proj.weight', 'weight');
}

const START: Mark = { step: 0, cursor: { epoch: 0, index: 0 } };

describe('a work of rollouts', () => {
  let session: Session;
  let expected: Float32Array;
  const marks: Mark[] = [];
  const snapshot = (step: number) => join(dir, `snapshot-${step}`);

  beforeAll(async () => {
    session = await weakPolicy(5);
    const folder = join(dir, 'undisturbed');
    expected = await train(session, workIn(session, folder), START, [], async (mark) => {
      marks.push(mark);
      await session.snapshot();
      await session.writeSnapshot(snapshot(mark.step));
    });
  });
  afterAll(() => session.close());

  it('counts its places by rollout and microbatch', () => {
    expect(marks.map(({ cursor }) => [cursor.epoch, cursor.index])).toEqual(
      Array.from({ length: STEPS }, (_, step) => [Math.floor(step / 4), (step % 4) * 2]),
    );
    expect(workIn(session, dir).epochsAt({ epoch: 5, index: 4 })).toBeCloseTo((5.5 * 16) / 100);
  });

  it.each([0, 3, 4, 6, 11])('ends with the same bits from step %d, drawn rollouts at hand', async (step) => {
    await session.readSnapshot(snapshot(step));
    const work = workIn(session, join(dir, 'undisturbed'));
    expect(await train(session, work, marks[step]!, [])).toEqual(expected);
  });

  it.each([0, 3, 4, 5])('and with later rollouts to be drawn again, from step %d', async (step) => {
    await session.readSnapshot(snapshot(step));
    const folder = join(dir, `killed-${step}`);
    cpSync(join(dir, 'undisturbed'), folder, { recursive: true });
    const { epoch, index } = marks[step]!.cursor;
    for (const name of readdirSync(join(folder, 'rollouts'))) {
      const rollout = Number(name.slice(8, 14));
      if (rollout > epoch || (rollout === epoch && index === 0)) rmSync(join(folder, 'rollouts', name));
    }
    expect(await train(session, workIn(session, folder), marks[step]!, [])).toEqual(expected);
  });

  it('refuses to draw a rollout whose first steps are done', async () => {
    await session.readSnapshot(snapshot(5));
    const work = workIn(session, join(dir, 'empty'));
    await expect(train(session, work, marks[5]!, [])).rejects.toMatchObject({ code: 'artifact_corrupt' });
  });

  it('leaves rows out from where they were set aside on', async () => {
    await session.readSnapshot(snapshot(5));
    const work = workIn(session, join(dir, 'undisturbed'));
    const { cursor } = marks[5]!;
    const first = await work.group(cursor, [], async () => {});
    expect(first.rows.flat().every((row) => row >= 128 && row < 256)).toBe(true);
    const setAside = [{ from: cursor, rows: first.rows.flat() }];
    const second = await work.group(cursor, setAside, async () => {});
    expect(second.rows.flat().filter((row) => first.rows.flat().includes(row))).toEqual([]);
    expect(second.next).not.toEqual(first.next);
    expect(work.origin(first.rows[0]![0]!)).toMatch(/^rollout 1, sample \d+ of \d,\d$/);
    const some = [{ from: cursor, rows: [first.rows[0]![0]!] }];
    const rest = await work.group(cursor, some, async () => {});
    expect(rest.rows.flat()).toHaveLength(first.rows.flat().length - 1);
    expect(rest.next).toEqual(first.next);
  });
});
