/**
 * `merge`: an adapter into its base, in double precision. Out come a model folder like any other, and a report of what
 * the rounding to float32 changes at fixed prompts.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { EventBody } from '../../proto/events.ts';
import { loadUnmerged, openModelFolder, sessionOptions } from '../models/load.ts';
import { type MergeReport, mergeAndCompare } from '../models/merge.ts';
import { PROBE_TOKENS, probeModel, readBack, readStopIds, saveModel } from '../models/save.ts';
import type { SessionOptions } from '../native/addon.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { plannedArchitecture } from '../training/planned.ts';
import { readJson, requireDiskSpace, writeFileAtomic } from '../util/files.ts';
import { requireMemory } from '../util/memory.ts';
import { MODEL_TYPES } from './model_types.ts';
import { defineStage } from './stage.ts';

const REPORT = 'report.json';

const schema = z.strictObject({
  model: z.string().describe('The adapter: a stage that trained with `lora`, or a folder.'),
});

export const mergeStage = defineStage({
  type: 'merge',
  doc: 'Merges an adapter into its base, and says how exact the merged model is.',
  schema,
  inputs: { model: { types: [...MODEL_TYPES, 'reward'] } },
  files: async () => [],

  async plan({ addon, threads, inputs }) {
    const architecture = await plannedArchitecture(inputs.model!);
    const { total, weights, parameters } = addon.planSession({ ...room(threads), architecture });
    return { memoryBytes: total, diskBytes: weights, seconds: null, detail: { parameters } };
  },

  async run(context) {
    const { name, addon, threads, outDir, inputs } = context;
    const { path } = inputs.model!;
    const folder = await openModelFolder(path);
    if (!folder.adapter) {
      throw new AnnealError(
        'model_invalid',
        `Stage ${name}: ${path} is no adapter; there is nothing to merge.`,
        {
          path: `stages.${name}.model`,
          hint: 'Name a stage that trained with `lora`, or a folder with adapter_config.json.',
        },
      );
    }
    const tokenizer = await loadTokenizer(path, { threads });
    const stopIds = await readStopIds(path, tokenizer);
    const plan = addon.planSession(sessionOptions(folder, room(threads)));
    requireMemory(plan.total, `Stage ${name}`);
    await requireDiskSpace(outDir, plan.weights, `Stage ${name}`);
    const session = await loadUnmerged(addon, folder, room(threads));
    const { family, architecture, initializerRange } = folder;
    let expected: Float32Array;
    let figures: MergeReport;
    try {
      figures = await mergeAndCompare(session, architecture);
      expected = await probeModel(session, architecture);
      await saveModel(session, outDir, { family, architecture, initializerRange, tokenizer, stopIds });
    } finally {
      await session.close();
    }
    await readBack(addon, outDir, threads, expected);
    const rows = reportRows(figures);
    const report: EventBody<'report'> = {
      stage: name,
      title: name,
      columns: ['measure', 'value'],
      rows,
      examples: [],
    };
    await writeFileAtomic(join(outDir, REPORT), `${JSON.stringify(report, null, 2)}\n`);
    context.record({ parameters: plan.parameters, ...Object.fromEntries(rows) });
    context.emit('report', report, `${name}/report`);
  },

  async retell(artifact, { name, emit }) {
    const report = (await readJson(join(artifact.path, REPORT), 'artifact_corrupt')) as EventBody<'report'>;
    emit('report', { ...report, stage: name, title: name }, `${name}/report`);
  },
});

/** The session of a merge: room for the fixed prompts. */
function room(threads: number): Omit<SessionOptions, 'architecture' | 'adapters'> {
  return {
    threads,
    trainable: false,
    maxTokens: PROBE_TOKENS,
    maxSequences: PROBE_TOKENS,
    maxScored: PROBE_TOKENS,
    recompute: false,
    generationSlots: 0,
    generationLength: 0,
  };
}

function reportRows({ positions, kl, topAgreement, score }: MergeReport): [string, number][] {
  return [
    ['positions', positions],
    ...(kl
      ? ([
          ['mean_kl', kl.mean],
          ['max_kl', kl.max],
        ] as [string, number][])
      : []),
    ...(topAgreement === undefined ? [] : ([['top1_agreement', topAgreement]] as [string, number][])),
    ...(score === undefined ? [] : ([['max_score_difference', score]] as [string, number][])),
  ];
}
