/**
 * Feeds damaged inputs to a parser: whatever the bytes, it gives records or an AnnealError.
 *
 *     npm run fuzz -- --target csv --inputs 1000000 --seed 1
 *     npm run fuzz -- --target csv --seed 1 --from 4711 --inputs 1    one input again, written to fuzz-csv-4711.bin
 *
 * Without --target it runs all of them, one after the other. Exits with 1 when an input was not borne.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fuzz, inputOf } from '../tests/fuzz/run.ts';
import { TARGETS } from '../tests/fuzz/targets.ts';

const { values } = parseArgs({
  options: {
    target: { type: 'string', multiple: true, default: Object.keys(TARGETS) },
    inputs: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
  },
});
const [inputs, seed, from] = [values.inputs, values.seed, values.from].map(Number) as [
  number,
  number,
  number,
];
/** An input takes a millisecond; one that takes this long does something that it should not. */
const MAX_INPUT_MS = 5000;
/** Reports come this often, so that one sees where a run is. */
const PART = 50_000;

for (const name of values.target) {
  const target = TARGETS[name];
  if (target === undefined) {
    throw new Error(`There is no target ${name}; there are ${Object.keys(TARGETS).join(', ')}.`);
  }
  const started = Date.now();
  let [done, errors, slowestMs, slowest, rss] = [0, 0, 0, 0, 0];
  let broken = false;
  while (done < inputs && !broken) {
    const report = await fuzz(target, seed, from + done, Math.min(PART, inputs - done), MAX_INPUT_MS);
    done += report.inputs;
    errors += report.errors;
    if (report.slowestMs > slowestMs) [slowestMs, slowest] = [report.slowestMs, report.slowest];
    rss = Math.max(rss, process.memoryUsage.rss());
    for (const { number, problem, bytes } of report.findings) {
      const path = `fuzz-${name}-${number}.bin`;
      writeFileSync(path, bytes);
      console.log(`${name}: input ${number} (${path}): ${problem}`);
      process.exitCode = 1;
      broken = true;
    }
  }
  if (inputs === 1) writeFileSync(`fuzz-${name}-${from}.bin`, inputOf(target, seed, from));
  const seconds = (Date.now() - started) / 1000;
  console.log(
    `${name}: ${done} inputs in ${seconds.toFixed(0)} s, ${errors} refused, slowest ${slowestMs.toFixed(0)} ms (input ${slowest}), ${Math.round(rss / 1e6)} MB`,
  );
}
