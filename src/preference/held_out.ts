/** The report of a reward model on held-out rows: made from the trained model, written beside it, told again. */
import { join } from 'node:path';
import type { EventBody } from '../../proto/events.ts';
import type { AnswerGroup } from '../data/preference.ts';
import { reportMarkdown } from '../evaluation/report.ts';
import { rankedPairs } from '../objectives/reward.ts';
import type { Artifact, StageContext } from '../stages/stage.ts';
import type { TrainingRuntime } from '../training/run.ts';
import { exists, readJson, writeFileAtomic } from '../util/files.ts';
import { batchesOf, type PackOptions, packGroups } from './batch.ts';
import { calibrate, calibrationReport } from './calibration.ts';

const REPORT_FILE = 'report.json';
const PACK: PackOptions = { outputs: 'values' };

/** Scores the rows, and writes and tells how well their order is found. */
export async function reportHeldOut(
  context: Pick<StageContext<unknown>, 'name' | 'outDir' | 'emit' | 'record'>,
  runtime: Pick<TrainingRuntime, 'session' | 'passFields'>,
  groups: readonly AnswerGroup[],
  maxRows: number,
): Promise<void> {
  const { name, outDir, emit, record } = context;
  const differences: number[] = [];
  for (const batch of batchesOf(groups, PACK, maxRows)) {
    const packed = packGroups(batch, PACK);
    const { values } = await runtime.session.forward({ ...packed.batch, ...runtime.passFields(undefined) });
    batch.forEach(({ ranking }, g) => {
      const { answers } = packed.places[g]!;
      for (const [better, worse] of rankedPairs(ranking))
        differences.push(values[answers[better]!.start]! - values[answers[worse]!.start]!);
    });
  }
  const result = calibrate(differences);
  const report = calibrationReport(name, result);
  await writeFileAtomic(
    join(outDir, REPORT_FILE),
    `${JSON.stringify({ ...report, calibration: result }, null, 2)}\n`,
  );
  await writeFileAtomic(join(outDir, 'report.md'), reportMarkdown(report));
  record({ eval_accuracy: result.accuracy, eval_ece: result.ece, eval_pairs: result.pairs });
  emit('report', report, `${name}/report`);
}

/** Tells the report of a finished artifact again. */
export async function retellHeldOut(
  artifact: Artifact,
  { name, emit }: Pick<StageContext<unknown>, 'name' | 'emit'>,
): Promise<void> {
  const path = join(artifact.path, REPORT_FILE);
  if (!(await exists(path))) return;
  const { calibration: _, ...report } = (await readJson(path, 'artifact_corrupt')) as EventBody<'report'> & {
    calibration: unknown;
  };
  emit('report', { ...report, stage: name }, `${name}/report`);
}
