/** A preparation that is killed at random moments, again and again, ends with the same bytes. */
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { DataRandom } from '../../src/data/random.ts';
import { filesOf, makeData, prepareHere, prepareWithKills } from './prepare_process.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);

const KILLS = 5;

it('ends with the bytes of one that was left alone', async () => {
  const baseDir = folder.path;
  const settings = await makeData(baseDir, 150);
  const at = (name: string) => ({
    settings,
    baseDir,
    workDir: join(baseDir, `${name}.work`),
    outDir: join(baseDir, name),
  });
  const started = performance.now();
  await prepareHere(at('alone'));
  // A process starts, does what this one did, and may be slower at it.
  const longest = 500 + 1.5 * (performance.now() - started);
  const random = new DataRandom('kills', 3);
  let kills = 0;
  for (let run = 0; kills < KILLS && run < 10; run++) {
    const options = at(`killed-${run}`);
    await prepareWithKills(
      options,
      KILLS - kills,
      () => 100 + random.below(Math.ceil(longest)),
      () => {
        kills += 1;
      },
    );
    expect(filesOf(options.outDir)).toEqual(filesOf(at('alone').outDir));
  }
  expect(kills).toBe(KILLS);
}, 120_000);
