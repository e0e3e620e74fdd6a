/**
 * A model of a comparison: asked the prompts greedily and by sampling, its responses scored, and set against the
 * model that all are compared with.
 */
import { AnnealError } from '../../proto/errors.ts';
import { asksInChat } from '../models/complete.ts';
import { loadModel, openLanguageModel, sessionOptions } from '../models/load.ts';
import { readAnswers, readingOptions } from '../models/reading.ts';
import { readStopIds } from '../models/save.ts';
import type { Architecture, SessionOptions } from '../native/addon.ts';
import { type DrawnResponse, drawLog, drawResponses } from '../ranking/draw.ts';
import { openScorers } from '../rewards/index.ts';
import { openRewardModel } from '../rewards/open_model.ts';
import type { Response, Scorer } from '../rewards/scorer.ts';
import { encodePrompts, fitPrompts, type Prompt, type RawPromptRow } from '../rollout/prompts.ts';
import { mixRewards, scoreResponses } from '../rollout/rewards.ts';
import { type ServedModel, type StageContext, StageStopped } from '../stages/stage.ts';
import { templateInputs } from '../tokenizer/chat_template.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { requireMemory } from '../util/memory.ts';
import type { CompareSettings } from './compare_settings.ts';
import { isExactMatch } from './match.ts';

type Context = StageContext<CompareSettings>;

/** A model, open, with the prompts as it is asked them. */
export interface Contestant {
  label: string;
  served: ServedModel;
  /** Rows of a batch that it reads. */
  maxRows: number;
  prompts: Prompt[];
}

/** What a model said, and what that was found to be worth. */
export interface Judged {
  greedy: DrawnResponse[];
  sampled: DrawnResponse[][];
  /** Of the sampled responses, in order: the programs' weighted sum, and the reward model's score. */
  rewards: (number | null)[] | undefined;
  modelScores: (number | null)[] | undefined;
  /**
   * Of the sampled responses, in order: log-probabilities by the model and by the one that all are compared with; null
   * where the tokenizers differ or responses were not drawn from the model's own distribution.
   */
  logProbs: { own: Float64Array; other: Float64Array } | null;
  /** Of the greedy responses, in order; null of prompts without an answer. */
  exact: (boolean | null)[];
}

/** What the session of a model is asked for. */
export function contestantSession(
  settings: CompareSettings,
  architecture: Architecture,
  threads: number,
): Omit<SessionOptions, 'adapters'> {
  const { maxPositions } = architecture;
  return {
    ...readingOptions(architecture, threads, maxPositions),
    generationSlots: settings.batch_size,
    generationLength: maxPositions,
  };
}

/** Opens a model of the stage; prompts that it has no room to answer are an error. */
export async function openContestant(
  context: Context,
  label: string,
  rows: readonly RawPromptRow[],
): Promise<Contestant> {
  const { settings, inputs, addon, threads, name } = context;
  const { path, type } = inputs[`models.${label}`]!;
  const folder = await openLanguageModel(path);
  const tokenizer = await loadTokenizer(path, { threads });
  const all = encodePrompts(rows, tokenizer, asksInChat(type, tokenizer));
  const { maxPositions } = folder.architecture;
  const { prompts, tooLong } = fitPrompts(all, maxPositions, settings.max_new_tokens);
  if (tooLong.length > 0) {
    throw new AnnealError(
      'data_row_too_long',
      `${name}: ${tooLong.length} of ${all.length} prompts leave no room for ${settings.max_new_tokens} new tokens in ${label}, which reads ${maxPositions}; the first is ${tooLong[0]!.origin}.`,
      {
        path: `stages.${name}.max_new_tokens`,
        hint: 'Lower max_new_tokens, or take these rows out of the dataset.',
      },
    );
  }
  const options = contestantSession(settings, folder.architecture, threads);
  requireMemory(addon.planSession(sessionOptions(folder, options)).total, `Stage ${name}`);
  const stopIds = await readStopIds(path, tokenizer);
  const session = await loadModel(addon, folder, options);
  const served = { session, tokenizer, stopIds, generationLength: options.generationLength };
  return { label, served, maxRows: options.maxTokens, prompts };
}

/** Asks a model, scores what it says, and measures how far it is from `against`. `index` names the files of its work. */
export async function judgeContestant(
  context: Context,
  own: Contestant,
  against: Contestant,
  index: number,
): Promise<Judged> {
  const { temperature, num_generations: samples } = context.settings;
  const greedy = (await draw(context, own, 2 * index, 0, 1)).map(([response]) => response!);
  const sampled = await draw(context, own, 2 * index + 1, temperature, samples);
  const comparable = own.served.tokenizer.hash === against.served.tokenizer.hash && temperature === 1;
  return {
    greedy,
    sampled,
    rewards: await scoreByPrograms(context, own, sampled),
    modelScores: await scoreByModel(context, own, sampled),
    logProbs: comparable ? await logProbsOf(own, against, sampled) : null,
    exact: greedy.map(({ text }, i) => {
      const right = answersOf(own.prompts[i]!);
      return right.length === 0 ? null : isExactMatch(text, right);
    }),
  };
}

/** The answers that a row of the dataset counts as right. */
export function answersOf({ fields }: Prompt): string[] {
  return [fields.answer].flat().filter((answer): answer is string => typeof answer === 'string');
}

function draw(
  context: Context,
  { label, served, prompts }: Contestant,
  log: number,
  temperature: number,
  samples: number,
): Promise<DrawnResponse[][]> {
  const { settings, name } = context;
  return drawResponses({
    label,
    model: served,
    prompts,
    temperatures: [temperature],
    samples,
    draw: {
      maxCompletionLength: settings.max_new_tokens,
      topK: 0,
      topP: 1,
      minP: 0,
      repetitionPenalty: 1,
    },
    seed: context.seed,
    batch: Math.max(1, Math.floor(settings.batch_size / samples)),
    log: drawLog(context.workDir, context.hash, log),
    between(done) {
      const progress = { stage: name, done, total: prompts.length, unit: 'row', metrics: {} };
      if (done > 0) context.emit('progress', progress, `${name}/${label}/${log}/row/${done}`);
      if (done < prompts.length && context.checkpointRequested()) throw new StageStopped();
    },
  });
}

/** What both models think of what `own` has drawn. */
async function logProbsOf(
  own: Contestant,
  against: Contestant,
  sampled: readonly DrawnResponse[][],
): Promise<{ own: Float64Array; other: Float64Array }> {
  const said = sampled.flatMap((responses, i) =>
    responses.map(({ ids }) => ({ prompt: own.prompts[i]!.ids, answer: Int32Array.from(ids) })),
  );
  const logProbs = ({ served, maxRows }: Contestant) =>
    readAnswers(served.session, said, { outputs: 'tokens', maxRows });
  return { own: await logProbs(own), other: await logProbs(against) };
}

async function scoreByPrograms(
  { settings, baseDir }: Context,
  own: Contestant,
  sampled: readonly DrawnResponse[][],
): Promise<(number | null)[] | undefined> {
  if (!settings.rewards) return undefined;
  const programs = await openScorers(settings.rewards, baseDir);
  try {
    const scorers = programs.map((scorer, i) => ({ scorer, weight: settings.rewards![i]!.weight }));
    const responses = responsesOf(own, sampled);
    const stopped = new Uint8Array(responses.length).fill(1);
    const mixed = mixRewards(scorers, await scoreResponses(scorers, responses), stopped, 0);
    return Array.from(mixed, (reward) => (Number.isNaN(reward) ? null : reward));
  } finally {
    await Promise.all(programs.map((scorer) => scorer.close()));
  }
}

async function scoreByModel(
  context: Context,
  own: Contestant,
  sampled: readonly DrawnResponse[][],
): Promise<(number | null)[] | undefined> {
  if (!context.inputs.reward_model) return undefined;
  const scorer: Scorer = await openRewardModel(context, { tokenizerHash: own.served.tokenizer.hash });
  try {
    return await scorer.score(responsesOf(own, sampled));
  } finally {
    await scorer.close();
  }
}

function responsesOf({ prompts }: Contestant, sampled: readonly DrawnResponse[][]): Response[] {
  return sampled.flatMap((of, i) =>
    of.map(({ text, ids, finish }): Response => {
      const { text: prompt, messages, ids: promptIds, fields } = prompts[i]!;
      return {
        prompt,
        messages,
        ...templateInputs(prompts[i]!),
        promptIds,
        text,
        ids: Int32Array.from(ids),
        finish,
        fields,
      };
    }),
  );
}
