/** What the training data of the models of an evaluation has of its rows, as the report states it. */
import { join } from 'node:path';
import type { ReportOverlap } from '../../proto/events.ts';
import { ArtifactStore } from '../artifacts/store.ts';
import { type TrainingData, trainingDataOf } from '../artifacts/training_data.ts';
import { type AskedRow, rowKey } from '../data/dedup/evaluation_sets.ts';
import { OVERLAP_FILE, overlapOf, overlapSchema, type RowOverlap } from '../data/dedup/overlap.ts';
import { parsedJson } from '../data/shapes/messages.ts';
import type { RawPromptRow } from '../rollout/prompts.ts';
import type { StageContext } from '../stages/stage.ts';
import { exists, readJson } from '../util/files.ts';
import { FileOverlaps } from './file_overlap.ts';

type ModelReport = ReportOverlap['models'][number];
type Reason = ModelReport['not_checked'][number]['reason'];

/** A model's part of the report, and which rows are contaminated. */
export interface ModelOverlap {
  contaminated: boolean[];
  report: ModelReport;
}

/** What some training data has of the rows, or why that is not known; `detail` is for people. */
type Finding = RowOverlap | { reason: Reason; detail: string };

/** A prompt as the row of an evaluation that asks it and has its answer. */
export function promptRow({ asked, fields }: Pick<RawPromptRow, 'asked' | 'fields'>): AskedRow {
  const question = typeof asked === 'string' ? { prompt: asked } : { messages: asked };
  const answer = [parsedJson(fields.answer ?? fields.completion)].flat()[0];
  return { question, answers: typeof answer === 'string' ? [answer] : [], text: undefined };
}

/** Looks for the rows of an evaluation in what its models (inputs `models.<label>`) were trained on. */
export async function modelOverlaps(
  rows: readonly AskedRow[],
  context: StageContext<unknown>,
  models: Readonly<Record<string, string>>,
): Promise<Map<string, ModelOverlap>> {
  const { home, inputs } = context;
  const store = new ArtifactStore(home);
  const keys = rows.map(rowKey);
  const files = new FileOverlaps(rows, context);
  // Models have much of their training data in common: each is looked at once.
  const findings = new Map<string, Finding>();
  const overlaps = new Map<string, ModelOverlap>();
  for (const [label, reference] of Object.entries(models)) {
    const data = await trainingDataOf(inputs[`models.${label}`]!, reference, store);
    for (const one of data) {
      if (findings.has(dataKey(one))) continue;
      findings.set(dataKey(one), await findRows(keys, one, files));
    }
    overlaps.set(label, modelOverlap(keys.length, label, data, findings));
  }
  return overlaps;
}

function dataKey(data: TrainingData): string {
  return data.kind === 'unknown' ? data.name : data.artifact.hash;
}

async function findRows(keys: readonly string[], data: TrainingData, files: FileOverlaps): Promise<Finding> {
  if (data.kind === 'unknown') return { reason: 'unknown', detail: 'its training data is unknown' };
  if (data.kind === 'files') {
    const found = await files.of(data.lineage);
    return 'overlap' in found ? overlapOf(keys, found.overlap) : found;
  }
  const file = join(data.artifact.path, OVERLAP_FILE);
  if (!(await exists(file))) return { reason: 'not_decontaminated', detail: 'has no decontamination' };
  return overlapOf(keys, overlapSchema.parse(await readJson(file, 'artifact_corrupt')));
}

function modelOverlap(
  rows: number,
  model: string,
  data: readonly TrainingData[],
  findings: ReadonlyMap<string, Finding>,
): ModelOverlap {
  const contaminated = Array.from({ length: rows }, () => false);
  const compared: ModelReport['compared'] = [];
  const not_checked: ModelReport['not_checked'] = [];
  const details: string[] = [];
  const leave = (source: string, reason: Reason, detail: string, of = rows) => {
    not_checked.push({ source, reason, rows: of });
    details.push(`${source} (${detail})`);
  };
  for (const one of data) {
    const { name } = one;
    const finding = findings.get(dataKey(one))!;
    if ('reason' in finding) {
      leave(name, finding.reason, finding.detail);
      continue;
    }
    const among = count(finding.compared);
    if (among > 0) {
      const has = count(finding.contaminated);
      compared.push({ dataset: name, artifact: dataKey(one), rows: among, contaminated: has });
    }
    finding.contaminated.forEach((is, i) => {
      contaminated[i] ||= is;
    });
    if (among < rows) {
      const detail = among === 0 ? 'was compared with other rows' : `was compared with ${among} of the rows`;
      leave(name, 'other_rows', detail, rows - among);
    }
  }
  const text = [
    ...(compared.length > 0 ? [contaminatedText(count(contaminated), rows, compared)] : []),
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
    ...(reasons.has('files_changed')
      ? [
          'Files are compared as long as they are what the stage read: put them back, or train on what is there now.',
        ]
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

function count(flags: readonly boolean[]): number {
  return flags.filter((flag) => flag).length;
}
