/**
 * Kills a training run with SIGKILL at many random moments and compares what it ends with, bit by bit, with a run
 * that was left alone. The ordinary tests do a handful; this does hundreds.
 *
 *   node scripts/kill-test.ts [KILLS = 200] [SEED = 1]
 */
import {
  differences,
  type Fixture,
  makeFixture,
  modelFolder,
  recipeText,
} from '../tests/training/fixture.ts';
import { runWithKills, undisturbedDuration } from '../tests/training/kills.ts';

/** Kills of one run; then the next begins. */
const KILLS_A_RUN = 20;
/** Every kind of work between two microsteps, and checkpoints at almost every step. */
const TEXT = recipeText({
  pretrain: [
    'max_steps: 60',
    'save_steps: 2',
    'save_seconds: 0.05',
    'eval_steps: 7',
    'sample_steps: 20',
    'sample_prompts: [Anna lives]',
    'sample_max_new_tokens: 8',
  ],
  sft: ['max_steps: 40', 'per_device_train_batch_size: 4', 'gradient_accumulation_steps: 2', 'save_steps: 3'],
});

const wanted = Number(process.argv[2] ?? 200);
const firstSeed = Number(process.argv[3] ?? 1);
const undisturbed = makeFixture();
let current: Fixture | undefined;
try {
  // Each attempt has up to half of the time that the whole run takes, so that kills strike in every stage.
  const latest = (await undisturbedDuration(undisturbed, TEXT)) / 2;
  const phases = new Map<string, number>();
  let kills = 0;
  for (let run = 1; kills < wanted; run++) {
    current = makeFixture();
    const hits = await runWithKills(
      current,
      TEXT,
      Math.min(KILLS_A_RUN, wanted - kills),
      latest,
      firstSeed * 1_000 + run,
    );
    for (const hit of hits) {
      const phase = hit.split('/').slice(0, 2).join('/');
      phases.set(phase, (phases.get(phase) ?? 0) + 1);
    }
    kills += hits.length;
    for (const stage of ['pretrain', 'sft']) {
      const differing = differences(modelFolder(undisturbed, stage), modelFolder(current, stage));
      // Rows are named by path, which differs from fixture to fixture.
      const wrong = differing.filter((name) => name !== 'rows.txt');
      if (wrong.length > 0)
        throw new Error(`run ${run}, seed ${firstSeed}: ${stage} differs in ${wrong.join(', ')}`);
    }
    console.log(`run ${run}: ${hits.length} kills, ${kills} in all, same bits`);
    current.remove();
    current = undefined;
  }
  console.log(`${kills} kills, by the last event before each:`);
  for (const [phase, count] of [...phases].sort((a, b) => b[1] - a[1])) console.log(`  ${phase}: ${count}`);
} finally {
  undisturbed.remove();
  current?.remove();
}
