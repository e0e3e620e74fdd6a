/**
 * Data work at scale, ours and the peers' in turn: `npm run bench:data -- WORK [ARGUMENTS]`. With no work it lists
 * them.
 */
import { loadBench, WORK_NAMES } from './data_works.ts';

const [work, ...args] = process.argv.slice(2);
if (work === undefined) {
  for (const name of WORK_NAMES) console.log(`${name.padEnd(10)} ${(await loadBench(name)).description}`);
} else {
  await (await loadBench(work)).run(args);
}
