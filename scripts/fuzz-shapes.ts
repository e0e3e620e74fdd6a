/**
 * Feeds rows of every shape and of none to what reads them:
 *
 *   node scripts/fuzz-shapes.ts [--rows 1000000] [--seed 1]
 *
 * as supervised data, as each kind of groups, and through filters. Ends with status 1 and the smallest such row at the
 * first one that is neither read nor refused with its place.
 */
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { fields, filtered, GROUP_KINDS, groups, row, supervised, where } from '../tests/fuzz/rows.ts';

const { values } = parseArgs({
  options: { rows: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' } },
});
const options = { numRuns: Number(values.rows), seed: Number(values.seed) };

/** Runs one reader over all rows and says how many it read. */
function fuzz(name: string, property: (read: (count: number) => void) => fc.IProperty<unknown>): void {
  const started = Date.now();
  let read = 0;
  fc.assert(
    property((count) => {
      read += count;
    }),
    options,
  );
  const seconds = ((Date.now() - started) / 1000).toFixed(0);
  console.log(`${name}: ${options.numRuns} rows in ${seconds} s, ${read} read or kept`);
}

fuzz('supervised', (read) => fc.property(row, fields, (given, mapping) => read(supervised(given, mapping))));
for (const kind of GROUP_KINDS) fuzz(kind, (read) => fc.property(row, (given) => read(groups(given, kind))));
fuzz('where', (read) => fc.property(row, where, (given, setting) => read(filtered(given, setting))));
