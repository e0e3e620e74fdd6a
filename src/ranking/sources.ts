/** Where labels come from: people's files, programs, a reward model or a judge, each made ready for a dataset. */
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import { homeLayout } from '../../proto/home.ts';
import { loadModel, type ModelFolder, openModelFolder } from '../models/load.ts';
import { readStopIds } from '../models/save.ts';
import type { Architecture, SessionOptions } from '../native/addon.ts';
import { openScorers } from '../rewards/index.ts';
import { modelScorer } from '../rewards/model.ts';
import type { Scorer } from '../rewards/scorer.ts';
import { type StageContext, StageStopped } from '../stages/stage.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { requireMemory } from '../util/memory.ts';
import { judgeLabels } from './judge.ts';
import type { Labelled } from './labelled.ts';
import { labelFolder } from './labels.ts';
import { datasetName, filesId } from './locate.ts';
import { peopleLabels } from './people.ts';
import type { DatasetFile, ResponseRow } from './responses.ts';
import { scoredLabels } from './scored.ts';
import { DEFAULT_RUBRIC, type RankSettings } from './settings.ts';

type Context = StageContext<RankSettings>;

const VERDICT_TOKENS = 16;
/** Sequences that the reward model is given at a time. */
const SCORED_SEQUENCES = 256;

/** What the labellers of the settings say about a dataset's rows. */
export async function labelRows(
  context: Context,
  rows: readonly ResponseRow[],
  files: readonly string[],
  dataset: DatasetFile | undefined,
): Promise<Labelled> {
  const { settings, inputs, home, name } = context;
  const layout = homeLayout(home);
  switch (settings.labels) {
    case 'people': {
      const id = inputs.dataset?.hash ?? (await filesId(files));
      return peopleLabels(rows, {
        folder: labelFolder(layout.labels, id),
        criteria: settings.criteria,
        minLabellers: settings.min_labellers ?? 1,
        minShare: settings.min_share ?? 1,
        stage: name,
        reference: inputs.dataset
          ? await datasetName(await realpath(inputs.dataset.path), layout)
          : files[0]!,
      });
    }
    case 'programs': {
      const programs = settings.programs!;
      const scorers = await openScorers(programs, context.baseDir);
      try {
        return await score(
          context,
          rows,
          scorers,
          programs.map(({ weight }) => weight),
        );
      } finally {
        await Promise.all(scorers.map((scorer) => scorer.close()));
      }
    }
    case 'reward_model':
      return scoreByModel(context, rows, dataset?.tokenizer_hash);
    case 'judge':
      return judge(context, rows);
  }
}

function score(
  context: Context,
  rows: readonly ResponseRow[],
  scorers: readonly Scorer[],
  weights: readonly number[],
): Promise<Labelled> {
  const { workDir, hash, settings } = context;
  return scoredLabels(rows, {
    scorers,
    weights,
    batch: settings.batch_size,
    log: join(workDir, `${hash}.scores.jsonl`),
    between: progress(context, rows.length),
  });
}

async function scoreByModel(
  context: Context,
  rows: readonly ResponseRow[],
  tokenizerHash: string | undefined,
): Promise<Labelled> {
  const { inputs, threads, emit, name } = context;
  const folder = await openModelFolder(inputs.reward_model!.path);
  if (folder.architecture.scoreHead !== true) {
    throw new AnnealError('model_invalid', `${folder.path} is no reward model: it has no scalar head.`, {
      path: `stages.${name}.reward_model`,
      hint: 'Name a `reward` stage, or a folder for sequence classification with one label.',
    });
  }
  const tokenizer = await loadTokenizer(folder.path, { threads });
  if (tokenizerHash !== tokenizer.hash) {
    const text = 'The reward model has another tokenizer than the responses: it is given their texts.';
    emit('notice', { stage: name, level: 'info', text }, `${name}/tokenizer`);
  }
  return withModel(context, folder, async (session, { maxTokens, maxSequences }) =>
    score(context, rows, [modelScorer({ session, tokenizer, maxTokens, maxSequences }, tokenizerHash)], [1]),
  );
}

async function judge(context: Context, rows: readonly ResponseRow[]): Promise<Labelled> {
  const { settings, inputs, threads, workDir, hash } = context;
  const folder = await openModelFolder(inputs.judge!.path);
  const tokenizer = await loadTokenizer(folder.path, { threads });
  const stopIds = await readStopIds(folder.path, tokenizer);
  return withModel(context, folder, (session, { generationLength }) =>
    judgeLabels(rows, {
      model: { session, tokenizer, stopIds, generationLength },
      rubric: settings.rubric ?? DEFAULT_RUBRIC,
      maxNewTokens: settings.max_new_tokens ?? VERDICT_TOKENS,
      batch: settings.batch_size,
      log: join(workDir, `${hash}.verdicts.jsonl`),
      between: progress(context, rows.length),
    }),
  );
}

async function withModel<T>(
  { settings, addon, threads, name }: Context,
  folder: ModelFolder,
  work: (session: Awaited<ReturnType<typeof loadModel>>, options: SizedOptions) => Promise<T>,
): Promise<T> {
  const { architecture } = folder;
  const options = sizedOptions(settings, architecture, threads);
  requireMemory(addon.planSession({ ...options, architecture }).total, `Stage ${name}`);
  const session = await loadModel(addon, folder, options);
  try {
    return await work(session, options);
  } finally {
    await session.close();
  }
}

type SizedOptions = Omit<SessionOptions, 'architecture' | 'adapters'>;

/** What a reward model or a judge is loaded with. */
export function sizedOptions(
  settings: RankSettings,
  architecture: Architecture,
  threads: number,
): SizedOptions {
  const judging = settings.labels === 'judge';
  const length = Math.min(settings.max_length ?? architecture.maxPositions, architecture.maxPositions);
  const sequences = Math.min(judging ? settings.batch_size : SCORED_SEQUENCES, length);
  return {
    threads,
    trainable: false,
    maxTokens: length,
    maxSequences: sequences,
    maxScored: sequences,
    recompute: false,
    generationSlots: judging ? settings.batch_size : 0,
    generationLength: judging ? length : 0,
  };
}

/** Tells how many rows are done; between batches a stop is heeded. */
function progress(context: Context, total: number): (done: number) => void {
  const { name } = context;
  return (done) => {
    const body = { stage: name, done, total, unit: 'row', metrics: {} };
    context.emit('progress', body, `${name}/row/${done}`);
    if (done < total && context.checkpointRequested()) throw new StageStopped();
  };
}
