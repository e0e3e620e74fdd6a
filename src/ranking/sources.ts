/** Where labels come from: people's files, programs, a reward model or a judge, each made ready for a dataset. */
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { homeLayout } from '../../proto/home.ts';
import { asksInChat } from '../models/complete.ts';
import { loadModel, openLanguageModel, sessionOptions } from '../models/load.ts';
import { readingOptions } from '../models/reading.ts';
import { openScorers } from '../rewards/index.ts';
import { openRewardModel } from '../rewards/open_model.ts';
import type { Scorer } from '../rewards/scorer.ts';
import { type StageContext, StageStopped } from '../stages/stage.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { requireMemory } from '../util/memory.ts';
import { judgeLabels } from './judge.ts';
import type { Labelled } from './labelled.ts';
import { labelFolder } from './labels.ts';
import { datasetName, filesId, labelsId, rowOptions } from './locate.ts';
import { peopleLabels } from './people.ts';
import type { DatasetFile, ResponseRow } from './responses.ts';
import { scoredLabels } from './scored.ts';
import { DEFAULT_RUBRIC, type RankSettings } from './settings.ts';

type Context = StageContext<RankSettings>;

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
        folder: labelFolder(layout.labels, labelsId(id, settings)),
        criteria: settings.criteria,
        minLabellers: settings.min_labellers ?? 1,
        minShare: settings.min_share ?? 1,
        stage: name,
        reference: `${
          inputs.dataset ? await datasetName(await realpath(inputs.dataset.path), layout) : files[0]!
        }${rowOptions(settings)}`,
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
  const scorer = await openRewardModel(context, { maxLength: context.settings.max_length, tokenizerHash });
  try {
    return await score(context, rows, [scorer], [1]);
  } finally {
    await scorer.close();
  }
}

async function judge(context: Context, rows: readonly ResponseRow[]): Promise<Labelled> {
  const { settings, inputs, addon, threads, workDir, hash, name } = context;
  const { path, type } = inputs.judge!;
  const folder = await openLanguageModel(path);
  const tokenizer = await loadTokenizer(path, { threads });
  const { maxPositions } = folder.architecture;
  const maxLength = Math.min(settings.max_length ?? maxPositions, maxPositions);
  const options = readingOptions(folder.architecture, threads, maxLength);
  requireMemory(addon.planSession(sessionOptions(folder, options)).total, `Stage ${name}`);
  const session = await loadModel(addon, folder, options);
  try {
    return await judgeLabels(rows, {
      model: {
        session,
        tokenizer,
        chat: asksInChat(type, tokenizer),
        maxRows: options.maxTokens,
        maxLength,
        templateKwargs: settings.chat_template_kwargs,
      },
      rubric: settings.rubric ?? DEFAULT_RUBRIC,
      batch: settings.batch_size,
      log: join(workDir, `${hash}.verdicts.jsonl`),
      between: progress(context, rows.length),
    });
  } finally {
    await session.close();
  }
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
