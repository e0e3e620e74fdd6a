/** Every parser of sources bears a few thousand damaged inputs; `npm run fuzz` runs millions. */
import { describe, expect, it } from 'vitest';
import { fuzz } from '../fuzz/run.ts';
import { TARGETS } from '../fuzz/targets.ts';

/** Of every parser; those that start streams or read files take longer for an input. */
const INPUTS = 2000;

describe('damaged inputs', () => {
  it.each(Object.entries(TARGETS))(
    'of %s give records or an AnnealError',
    { timeout: 300_000 },
    async (_, target) => {
      const report = await fuzz(target, 20261128, 0, INPUTS);
      expect(report.findings.map(({ number, problem }) => `${number}: ${problem}`)).toEqual([]);
      expect(report.inputs).toBe(INPUTS);
    },
  );
});
