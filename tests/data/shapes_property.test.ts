/** Shape parsers on any rows: what comes out is well formed, and what is thrown is an AnnealError with the place. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fields, filtered, GROUP_KINDS, groups, row, supervised, where } from '../fuzz/rows.ts';

// Many more: scripts/fuzz-shapes.ts.
const RUNS = { numRuns: 2_000, seed: 1 };

describe('any row', () => {
  it('is supervised data of its declared form, or refused by place', () => {
    let read = 0;
    fc.assert(
      fc.property(row, fields, (given, mapping) => {
        read += supervised(given, mapping);
      }),
      RUNS,
    );
    expect(read).toBeGreaterThan(RUNS.numRuns / 4);
  });

  it.each(GROUP_KINDS)('gives groups of %s, or is refused by place', (kind) => {
    let read = 0;
    fc.assert(
      fc.property(row, (given) => {
        read += groups(given, kind);
      }),
      RUNS,
    );
    expect(read).toBeGreaterThan(RUNS.numRuns / 50);
  });

  it('is kept or left out by a filter, whatever its fields hold', () => {
    let kept = 0;
    fc.assert(
      fc.property(row, where, (given, setting) => {
        kept += filtered(given, setting);
      }),
      RUNS,
    );
    expect(kept).toBeGreaterThan(RUNS.numRuns / 50);
  });
});
