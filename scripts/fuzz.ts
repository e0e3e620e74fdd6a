/**
 * Feeds damaged inputs to a parser: whatever the bytes, it gives records or an AnnealError.
 *
 *     npm run fuzz -- --target csv --inputs 1000000 --seed 1
 *     npm run fuzz -- --target csv --seed 1 --from 4711 --inputs 1    one input again, written to fuzz-csv-4711.bin
 *
 * Without --target it runs all of them, one after the other. An input that takes --patience seconds (60) never ends:
 * it is counted, as is one that breaks its thread, and the run goes on behind it; any other that was not borne ends
 * the run of its target. Exits with 1 when there was one of either.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { inputOf } from '../tests/fuzz/run.ts';
import { TARGETS } from '../tests/fuzz/targets.ts';
import { FuzzThread, type Part, Stopped } from './fuzz_thread.ts';

const { values } = parseArgs({
  options: {
    target: { type: 'string', multiple: true, default: Object.keys(TARGETS) },
    inputs: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    patience: { type: 'string', default: '60' },
  },
});
const [inputs, seed, from, patience] = [values.inputs, values.seed, values.from, values.patience].map(
  Number,
) as [number, number, number, number];
/** An input takes a millisecond; one that takes this long of the processor does something that it should not. */
const MAX_INPUT_MS = 5000;
/** Inputs that a thread runs before it reports. */
const PART = 1000;

// What targets write goes with the folder, also where a thread is ended or the run is interrupted.
const folder = mkdtempSync(join(tmpdir(), 'anneal-fuzz-'));
process.env.TMPDIR = folder;
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));

for (const name of values.target) {
  if (TARGETS[name] === undefined) {
    throw new Error(`There is no target ${name}; there are ${Object.keys(TARGETS).join(', ')}.`);
  }
  await fuzzTarget(name);
}

async function fuzzTarget(name: string): Promise<void> {
  const target = TARGETS[name]!;
  const started = Date.now();
  let [done, errors, lost, slowestMs, slowest, rss] = [0, 0, 0, 0, 0, 0];
  const notBorne = (number: number, problem: string): void => {
    const path = `fuzz-${name}-${number}.bin`;
    writeFileSync(path, inputOf(target, seed, number));
    console.log(`${name}: input ${number} (${path}): ${problem}`);
    process.exitCode = 1;
  };
  let thread: FuzzThread | undefined;
  const parts: Part[] = [{ from, to: from + inputs }];
  for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
    const { from, to } = part;
    if (to - from > PART) {
      parts.push({ from: from + PART, to }, { from, to: from + PART });
      continue;
    }
    thread ??= new FuzzThread(name, seed, MAX_INPUT_MS);
    try {
      const report = await thread.run(part, 1000 * patience);
      done += report.inputs;
      errors += report.errors;
      if (report.slowestMs > slowestMs) [slowestMs, slowest] = [report.slowestMs, report.slowest];
      rss = Math.max(rss, process.memoryUsage.rss());
      for (const { number, problem } of report.findings) notBorne(number, problem);
      if (report.findings.length > 0) break;
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      const { number, message } = error;
      notBorne(number, message);
      thread = undefined;
      [done, lost] = [done + 1, lost + 1];
      // What was counted of the part is lost with the thread.
      parts.push(
        ...[
          { from: number + 1, to },
          { from, to: number },
        ].filter(({ from, to }) => from < to),
      );
    }
  }
  await thread?.close();
  if (inputs === 1) writeFileSync(`fuzz-${name}-${from}.bin`, inputOf(target, seed, from));
  const seconds = (Date.now() - started) / 1000;
  console.log(
    `${name}: ${done} inputs in ${seconds.toFixed(0)} s, ${errors} refused, ${lost} never ended or broke their thread, slowest ${slowestMs.toFixed(0)} ms (input ${slowest}), ${Math.round(rss / 1e6)} MB`,
  );
}
