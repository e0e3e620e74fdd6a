/**
 * Kills preparations with SIGKILL at many random moments and compares what they end with, byte by byte, with one that
 * was left alone. The ordinary tests do a handful; this does hundreds.
 *
 *   node scripts/kill-test-data.ts [KILLS = 200] [SEED = 1]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataRandom } from '../src/data/random.ts';
import {
  filesOf,
  makeData,
  type PrepareProcess,
  prepareUnlessKilled,
  prepareWithKills,
} from '../tests/data/prepare_process.ts';

/** Kills of one preparation; then the next begins. */
const KILLS_A_RUN = 10;
const ROWS = 600;

const wanted = Number(process.argv[2] ?? 200);
const seed = Number(process.argv[3] ?? 1);
const baseDir = mkdtempSync(join(tmpdir(), 'anneal-kills-'));
try {
  const settings = await makeData(baseDir, ROWS);
  const at = (name: string): PrepareProcess => ({
    settings,
    baseDir,
    workDir: join(baseDir, `${name}.work`),
    outDir: join(baseDir, name),
  });
  const started = performance.now();
  await prepareUnlessKilled(at('alone'), 2 ** 30);
  const longest = performance.now() - started;
  const expected = filesOf(at('alone').outDir);
  const random = new DataRandom('kills', seed);
  const places = new Map<string, number>();
  let kills = 0;
  for (let run = 1; kills < wanted; run++) {
    const options = at(`run-${run}`);
    await prepareWithKills(
      options,
      Math.min(KILLS_A_RUN, wanted - kills),
      () => random.below(Math.ceil(longest)),
      (place) => {
        places.set(place, (places.get(place) ?? 0) + 1);
        kills += 1;
      },
    );
    const found = filesOf(options.outDir);
    const names = new Set([...Object.keys(found), ...Object.keys(expected)]);
    const differing = [...names].filter((name) => found[name] !== expected[name]);
    if (differing.length > 0) throw new Error(`run ${run}, seed ${seed}: ${differing.join(', ')} differ`);
    console.log(`run ${run}: ${kills} kills in all, same bytes`);
    rmSync(options.outDir, { recursive: true });
    rmSync(options.workDir, { recursive: true });
  }
  console.log(`${kills} kills, by what was going on:`);
  for (const [place, count] of [...places].sort((a, b) => b[1] - a[1])) console.log(`  ${place}: ${count}`);
} finally {
  rmSync(baseDir, { recursive: true, force: true });
}
