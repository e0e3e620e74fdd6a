/**
 * `rank`: responses get scores and rankings from people, a reward model, a judge or programs, and make pairs to train
 * on. Out come rankings.jsonl, pairs.jsonl, dataset.json, and a report on models and on the agreement of labellers.
 */
import { dirname, join } from 'node:path';
import type { EventBody } from '../../proto/events.ts';
import { homeLayout } from '../../proto/home.ts';
import { rowFiles, stageRows } from '../data/shapes/read.ts';
import { reportMarkdown } from '../evaluation/report.ts';
import { readingOptions } from '../models/reading.ts';
import type { Labelled } from '../ranking/labelled.ts';
import { labelFiles, labelFolder } from '../ranking/labels.ts';
import { filesId, labelsId } from '../ranking/locate.ts';
import { rankingOf } from '../ranking/order.ts';
import { agreementTable, modelTable } from '../ranking/report.ts';
import { readDatasetFile, readResponses, responsesFile } from '../ranking/responses.ts';
import { type RankSettings, rankSchema } from '../ranking/settings.ts';
import { labelRows } from '../ranking/sources.ts';
import { writeRankings } from '../ranking/write.ts';
import { rewardFiles } from '../rewards/index.ts';
import { plannedArchitecture } from '../training/planned.ts';
import { readJson, writeFileAtomic } from '../util/files.ts';
import { MODEL_TYPES } from './model_types.ts';
import { defineStage, type StageContext } from './stage.ts';

type Report = EventBody<'report'>;
type Context = StageContext<RankSettings>;

const REPORT_FILE = 'report.json';

export const rankStage = defineStage({
  type: 'rank',
  doc: 'Ranks responses by people, a reward model, a judge or programs, and makes pairs of them.',
  schema: rankSchema,
  inputs: {
    dataset: { types: ['generate', 'rank'], orFiles: true },
    reward_model: { types: ['reward'], optional: true },
    judge: { types: MODEL_TYPES, optional: true },
  },

  async files(settings, baseDir) {
    const { programs } = settings;
    return [
      ...(await rowFiles(settings, baseDir)),
      ...(programs ? await rewardFiles(programs, baseDir) : []),
    ];
  },

  async homeFiles(settings, { home, baseDir, inputs }) {
    const { labels } = settings;
    if (labels !== 'people') return [];
    const id = inputs.dataset ?? (await filesId(await rowFiles(settings, baseDir)));
    return labelFiles(labelFolder(homeLayout(home).labels, labelsId(id, settings)));
  },

  async plan({ settings, addon, threads, inputs }) {
    let memoryBytes = 0;
    const model = inputs.reward_model ?? inputs.judge;
    if (model) {
      const architecture = await plannedArchitecture(model);
      const longest = settings.max_length ?? architecture.maxPositions;
      memoryBytes = addon.planSession(readingOptions(architecture, threads, longest)).total;
    }
    return { memoryBytes, diskBytes: 1e6, seconds: null, detail: { labels: settings.labels } };
  },

  async run(context) {
    const { settings, inputs, baseDir, outDir, name } = context;
    const made = inputs.dataset ? responsesFile(inputs.dataset) : undefined;
    const files = made === undefined ? await rowFiles(settings, baseDir) : [made];
    const rows = await readResponses(stageRows(context, made === undefined ? settings.dataset : [made]));
    const dataset = await readDatasetFile(dirname(files[0]!));
    const labelled = await labelRows(context, rows, files, dataset);
    tellSkips(context, labelled);
    const pairs = await writeRankings(context, rows, labelled, dataset);
    const report: Report = {
      stage: name,
      title: name,
      ...modelTable(rows, labelled.rows, context.seed, settings.examples),
    };
    const agreed = agreementTable(labelled.rows);
    const agreement: Report | null = agreed
      ? { stage: name, title: `${name}: agreement of labellers`, ...agreed, examples: [] }
      : null;
    const kept = `${JSON.stringify({ report, agreement }, null, 2)}\n`;
    await writeFileAtomic(join(outDir, REPORT_FILE), kept);
    const pages = [report, ...(agreement ? [agreement] : [])].map(reportMarkdown);
    await writeFileAtomic(join(outDir, 'report.md'), pages.join('\n'));
    tellReport(context, report, agreement);
    const ranked = labelled.rows.filter(({ scores }) => rankingOf(scores).length > 1).length;
    context.record({ ...labelled.results, rows: rows.length, ranked, pairs });
  },

  async retell(artifact, context) {
    const { report, agreement } = (await readJson(join(artifact.path, REPORT_FILE), 'artifact_corrupt')) as {
      report: Report;
      agreement: Report | null;
    };
    const { name } = context;
    tellReport(
      context,
      { ...report, stage: name, title: name },
      agreement && { ...agreement, stage: name, title: `${name}: agreement of labellers` },
    );
  },
});

function tellReport(
  { name, emit }: Pick<Context, 'name' | 'emit'>,
  report: Report,
  agreement: Report | null,
): void {
  emit('report', report, `${name}/report`);
  if (agreement) emit('report', agreement, `${name}/agreement`);
}

function tellSkips({ emit, name, record }: Context, { skipped }: Labelled): void {
  for (const [reason, count] of skipped) {
    const text = `${count} times: ${reason}. Such responses have no score.`;
    emit('notice', { stage: name, level: 'warning', text }, `${name}/skipped/${reason}`);
  }
  record({ skipped: [...skipped.values()].reduce((sum, count) => sum + count, 0) });
}
