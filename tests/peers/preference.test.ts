/**
 * Preference objectives against the published formulas in PyTorch (float64, autograd) and against TRL's own trainers,
 * whose methods are called on the same numbers (float32). The Python side is preference_reference.py.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { CASES } from '../objectives/cases.ts';
import { NUMBERS } from '../objectives/numbers.ts';

const python = process.env.ANNEAL_PEERS_PYTHON;

interface Values {
  loss: number;
  gradient: number[];
}

interface Reply {
  formula: Values;
  trl: (Values & { metrics: Record<string, number> }) | null;
}

/** 1e-5 of the largest number. */
function expectClose(ours: ArrayLike<number>, theirs: readonly number[]): void {
  expect(ours.length).toBe(theirs.length);
  const scale = Math.max(...theirs.map(Math.abs));
  theirs.forEach((value, i) => {
    expect(Math.abs(ours[i]! - value)).toBeLessThanOrEqual(1e-5 * scale);
  });
}

describe.skipIf(!python)('preference objectives', () => {
  let replies: Reply[] = [];
  beforeAll(() => {
    const cases = CASES.map(({ objective, settings, at }) => ({
      objective,
      settings: Object.fromEntries(
        Object.entries(settings).map(([key, value]) => [
          key,
          value instanceof Float64Array ? [...value] : value,
        ]),
      ),
      at: [...at],
    }));
    const run = spawnSync(python!, [join(import.meta.dirname, 'preference_reference.py')], {
      input: JSON.stringify({ numbers: NUMBERS, cases }),
      maxBuffer: 1 << 26,
      encoding: 'utf8',
      env: { ...process.env, HF_HUB_OFFLINE: '1' },
    });
    if (run.status !== 0) throw new Error(run.stderr);
    replies = JSON.parse(run.stdout) as Reply[];
  }, 180_000);

  it.each(CASES.map((each, i) => ({ ...each, i })))('$name: formula', ({ at, evaluate, i }) => {
    const { loss, gradient } = evaluate(at);
    const { formula } = replies[i]!;
    expectClose([loss], [formula.loss]);
    expectClose(gradient, formula.gradient);
  });

  it.each(CASES.map((each, i) => ({ ...each, i })).filter(({ differs }) => !differs))(
    '$name: TRL',
    ({ objective, settings, at, evaluate, i }) => {
      const { trl } = replies[i]!;
      const pairs = objective !== 'reward' || (settings.sizes as number[]).every((size) => size === 2);
      expect(trl !== null).toBe(pairs);
      if (trl === null) return;
      const { loss, gradient, metrics } = evaluate(at);
      expectClose([loss], [trl.loss]);
      expectClose(gradient, trl.gradient);
      // What TRL logs is logged here, too; tokens are the training loop's.
      for (const [name, value] of Object.entries(trl.metrics)) {
        if (name === 'num_tokens') continue;
        expect(metrics, name).toHaveProperty([name]);
        expectClose([metrics![name]!], [value]);
      }
    },
  );
});
