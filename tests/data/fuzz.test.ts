/** Every parser of sources bears a few thousand damaged inputs; `npm run fuzz` runs millions. */
import { afterAll, describe, expect, it } from 'vitest';
import { setColumnarPatience } from '../../src/data/sources/columnar.ts';
import { fuzz } from '../fuzz/run.ts';
import { TARGETS } from '../fuzz/targets.ts';

/** Of targets that start streams, files or threads an input takes longer. */
const INPUTS: Readonly<Record<string, number>> = {
  cleaning: 500,
  gzip: 500,
  zstd: 500,
  bzip2: 300,
  tar: 300,
  'tar.gz': 200,
  zip: 300,
  arrow: 100,
  parquet: 60,
};

afterAll(() => setColumnarPatience(300_000));

describe('damaged inputs', () => {
  it.each(Object.entries(TARGETS))(
    'of %s give records or an AnnealError',
    { timeout: 120_000 },
    async (name, target) => {
      const inputs = INPUTS[name] ?? 2000;
      const report = await fuzz(target, 20261128, 0, inputs);
      expect(report.findings.map(({ number, problem }) => `${number}: ${problem}`)).toEqual([]);
      expect(report.inputs).toBe(inputs);
    },
  );
});
