/** What the training data of the models of an evaluation has of its rows, as the report states it. */
import { join } from 'node:path';
import type { ReportOverlap } from '../../proto/events.ts';
import { ArtifactStore } from '../artifacts/store.ts';
import { type TrainingData, trainingDataOf } from '../artifacts/training_data.ts';
import { rowKey } from '../data/dedup/evaluation_sets.ts';
import { OVERLAP_FILE, overlapOf, overlapSchema } from '../data/dedup/overlap.ts';
import { parsedJson } from '../data/shapes/messages.ts';
import type { RawPromptRow } from '../rollout/prompts.ts';
import type { StageContext } from '../stages/stage.ts';
import { exists, readJson } from '../util/files.ts';

type ModelReport = ReportOverlap['models'][number];

/** A model's part of the report, and which rows are contaminated. */
export interface ModelOverlap {
  contaminated: boolean[];
  report: ModelReport;
}

/** The key of a prompt: that of the row of an evaluation that asks it and has its answer. */
export function promptKey({ asked, fields }: Pick<RawPromptRow, 'asked' | 'fields'>): string {
  const question = typeof asked === 'string' ? { prompt: asked } : { messages: asked };
  const answer = [parsedJson(fields.answer ?? fields.completion)].flat()[0];
  return rowKey({ question, answers: typeof answer === 'string' ? [answer] : [], text: undefined });
}

/** Looks up the rows of an evaluation, by their keys, in the lineages of its models (inputs `models.<label>`). */
export async function modelOverlaps(
  keys: readonly string[],
  { home, inputs }: Pick<StageContext<unknown>, 'home' | 'inputs'>,
  models: Readonly<Record<string, string>>,
): Promise<Map<string, ModelOverlap>> {
  const store = new ArtifactStore(home);
  const overlaps = new Map<string, ModelOverlap>();
  for (const [label, reference] of Object.entries(models)) {
    const data = await trainingDataOf(inputs[`models.${label}`]!, reference, store);
    overlaps.set(label, await modelOverlap(keys, label, data));
  }
  return overlaps;
}

async function modelOverlap(
  keys: readonly string[],
  model: string,
  data: readonly TrainingData[],
): Promise<ModelOverlap> {
  const contaminated = keys.map(() => false);
  const compared: ModelReport['compared'] = [];
  const not_checked: ModelReport['not_checked'] = [];
  const details: string[] = [];
  const leave = (
    source: string,
    reason: ModelReport['not_checked'][number]['reason'],
    detail: string,
    rows = keys.length,
  ) => {
    not_checked.push({ source, reason, rows });
    details.push(`${source} (${detail})`);
  };
  for (const one of data) {
    if (one.kind === 'unknown') leave(one.name, 'unknown', 'its training data is unknown');
    else if (one.kind === 'files') leave(one.name, 'read_from_files', `reads ${shortList(one.files)}`);
    else {
      const { name, artifact } = one;
      const file = join(artifact.path, OVERLAP_FILE);
      if (!(await exists(file))) {
        leave(name, 'not_decontaminated', 'has no decontamination');
        continue;
      }
      const overlap = overlapOf(keys, [overlapSchema.parse(await readJson(file, 'artifact_corrupt'))]);
      const rows = count(overlap.compared);
      if (rows > 0) {
        compared.push({
          dataset: name,
          artifact: artifact.hash,
          rows,
          contaminated: count(overlap.contaminated),
        });
      }
      overlap.contaminated.forEach((is, i) => {
        contaminated[i] ||= is;
      });
      if (rows < keys.length) {
        leave(
          name,
          'other_rows',
          rows === 0 ? 'was compared with other rows' : `was compared with ${rows} of the rows`,
          keys.length - rows,
        );
      }
    }
  }
  const text = [
    ...(compared.length > 0 ? [contaminatedText(count(contaminated), keys.length, compared)] : []),
    ...(details.length > 0 ? [`not checked: ${details.join(', ')}`] : []),
  ].join('; ');
  return { contaminated, report: { model, contaminated: count(contaminated), compared, not_checked, text } };
}

/** The report's part; `others` are the table's lines over rows that are not contaminated. */
export function overlapReport(
  overlaps: ReadonlyMap<string, ModelOverlap>,
  others: ReportOverlap['others'],
  dataset: string | readonly string[],
): ReportOverlap {
  const models = [...overlaps.values()];
  const reasons = new Set(models.flatMap(({ report }) => report.not_checked.map(({ reason }) => reason)));
  const hint = [
    ...(reasons.has('not_decontaminated') || reasons.has('other_rows')
      ? [
          `A prepare stage with decontamination: { sets: [{ files: [${[dataset].flat().join(', ')}] }], action: report } has its dataset checked.`,
        ]
      : []),
    ...(reasons.has('read_from_files')
      ? ['Files that a stage reads itself are compared by a prepare stage over them; its report tells.']
      : []),
  ].join(' ');
  return {
    rows: models[0]!.contaminated.length,
    models: models.map(({ report }) => report),
    others,
    ...(hint !== '' && { hint }),
  };
}

function contaminatedText(rows: number, of: number, compared: ModelReport['compared']): string {
  const guilty = compared.filter(({ contaminated }) => contaminated > 0);
  const names = (guilty.length > 0 ? guilty : compared).map(({ dataset }) => dataset).join(', ');
  return `contaminated ${rows} of ${of} rows (${guilty.length > 0 ? 'by' : 'compared with'} ${names})`;
}

function shortList(names: readonly string[]): string {
  const most = 3;
  return `${names.slice(0, most).join(', ')}${names.length > most ? ', ...' : ''}`;
}

function count(flags: readonly boolean[]): number {
  return flags.filter((flag) => flag).length;
}
