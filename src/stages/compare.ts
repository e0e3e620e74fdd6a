/**
 * `compare`: models side by side on the same prompts, against one of them: how often each wins by the rewards, what
 * it earns, how far it has moved (KL), exact match, and what it cost: trained weights and time. Out come a table
 * (event `report`, report.json, report.md) and every response (outputs.jsonl).
 */

import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { EventBody } from '../../proto/events.ts';
import { readLineage } from '../artifacts/store.ts';
import { dataFiles, resolveFiles } from '../data/files.ts';
import { divergence, meanScore, responseLogProbs, winRate } from '../evaluation/compare.ts';
import { isExactMatch } from '../evaluation/match.ts';
import { reportMarkdown } from '../evaluation/report.ts';
import { asksInChat } from '../models/complete.ts';
import { loadModel, type ModelFolder, openModelFolder } from '../models/load.ts';
import { readStopIds } from '../models/save.ts';
import type { Session } from '../native/addon.ts';
import { type DrawnResponse, drawLog, drawResponses } from '../ranking/draw.ts';
import { openScorers, rewardFiles, rewardSettings } from '../rewards/index.ts';
import { openRewardModel } from '../rewards/open_model.ts';
import type { Response, Scorer } from '../rewards/scorer.ts';
import { fitPrompts, type Prompt, readPrompts } from '../rollout/prompts.ts';
import { mixRewards, scoreResponses } from '../rollout/rewards.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { plannedArchitecture } from '../training/planned.ts';
import { readJson, writeFileAtomic } from '../util/files.ts';
import { requireMemory } from '../util/memory.ts';
import { MODEL_TYPES } from './model_types.ts';
import { type Artifact, defineStage, type StageContext, StageStopped } from './stage.ts';

const schema = z
  .strictObject({
    models: z
      .record(z.string(), z.string())
      .refine((models) => Object.keys(models).length > 1, 'names fewer than two models')
      .describe('Models by the name that the table gives them: stages, or folders.'),
    against: z.string().describe('The one of them that the others are compared with.'),
    dataset: dataFiles.describe(
      'JSONL: `prompt` or `messages`, what the rewards need, and `answer` for exact match.',
    ),
    rewards: rewardSettings
      .optional()
      .describe('Programs that judge, each with a weight: they say who wins.'),
    reward_model: z
      .string()
      .optional()
      .describe(
        'A `reward` stage, or a folder of its kind: a column of its own, and the judge where there are no programs.',
      ),
    temperature: z.number().positive().default(1).describe('Of the responses that are judged.'),
    num_generations: z.int().positive().default(1).describe('Responses to each prompt that are judged.'),
    max_new_tokens: z.int().positive().default(64).describe('Tokens of a response at most.'),
    batch_size: z.int().positive().default(64).describe('Responses drawn side by side.'),
    examples: z.int().min(0).default(5).describe('Greedy responses that the report shows.'),
  })
  .superRefine((settings, context) => {
    const issue = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    if (!Object.hasOwn(settings.models, settings.against)) issue('against', 'is not one of models');
    if (!settings.rewards && settings.reward_model === undefined)
      issue('rewards', 'or reward_model must be given');
  });
type Settings = z.output<typeof schema>;
type Report = EventBody<'report'>;

export const compareStage = defineStage({
  type: 'compare',
  doc: 'Compares models by win rate, reward, divergence, exact match, trained weights and time.',
  schema,
  inputs: {
    models: { types: MODEL_TYPES },
    reward_model: { types: ['reward'], optional: true },
  },
  async files({ dataset, rewards }, baseDir) {
    return [
      ...(await resolveFiles(dataset, baseDir)),
      ...(rewards ? await rewardFiles(rewards, baseDir) : []),
    ];
  },

  async plan({ settings, addon, threads, inputs }) {
    let memoryBytes = 0;
    for (const [key, model] of Object.entries(inputs)) {
      if (!key.startsWith('models.')) continue;
      const architecture = await plannedArchitecture(model);
      const options = { architecture, ...room(settings, threads, architecture.maxPositions) };
      memoryBytes = Math.max(memoryBytes, 2 * addon.planSession(options).total);
    }
    return {
      memoryBytes,
      diskBytes: 1e6,
      seconds: null,
      detail: { models: Object.keys(settings.models).length },
    };
  },

  async run(context) {
    const { settings, inputs, name, outDir } = context;
    const labels = Object.keys(settings.models);
    const against = await openModel(context, settings.against);
    const judged = new Map<string, Judged>();
    try {
      for (const [index, label] of labels.entries()) {
        const own = label === settings.against ? against : await openModel(context, label);
        try {
          judged.set(label, await judgeModel(context, own, against, index));
        } finally {
          if (own !== against) await own.session.close();
        }
      }
    } finally {
      await against.session.close();
    }
    const rows: Report['rows'] = [];
    for (const label of labels) {
      const cost = await trainingCost(inputs[`models.${label}`]!);
      rows.push(tableRow(label, judged.get(label)!, judged.get(settings.against)!, settings, cost));
    }
    const report: Report = {
      stage: name,
      title: name,
      columns: columns(settings),
      rows,
      examples: against.prompts.slice(0, settings.examples).map(({ text, fields }, i) => ({
        prompt: text,
        expected: answers(fields)[0] ?? '',
        outputs: Object.fromEntries(labels.map((label) => [label, judged.get(label)!.greedy[i]!.text])),
      })),
    };
    await writeFileAtomic(join(outDir, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
    await writeFileAtomic(join(outDir, 'report.md'), reportMarkdown(report));
    const lines = against.prompts.map(({ text, fields }, i) => {
      const outputs = labels.map((label) => {
        const { greedy, sampled } = judged.get(label)!;
        return [label, { greedy: greedy[i]!.text, sampled: sampled[i]!.map((response) => response.text) }];
      });
      return JSON.stringify({ prompt: text, ...fields, outputs: Object.fromEntries(outputs) });
    });
    await writeFileAtomic(join(outDir, 'outputs.jsonl'), `${lines.join('\n')}\n`);
    context.emit('report', report, `${name}/report`);
  },

  async retell(artifact, { name, emit }) {
    const report = (await readJson(join(artifact.path, 'report.json'), 'artifact_corrupt')) as Report;
    emit('report', { ...report, stage: name, title: name }, `${name}/report`);
  },
});

/** A model of the stage, open, with the prompts as it is asked them. */
interface OpenModel {
  label: string;
  folder: ModelFolder;
  tokenizer: Tokenizer;
  stopIds: number[];
  session: Session;
  prompts: Prompt[];
}

/** What a model said, and what that was found to be worth. */
interface Judged {
  greedy: DrawnResponse[];
  sampled: DrawnResponse[][];
  /** Of the sampled responses, in order: the programs' weighted sum, and the reward model's score. */
  rewards: (number | null)[] | undefined;
  modelScores: (number | null)[] | undefined;
  /** Nats a response; null where the tokenizers differ. */
  kl: number | null;
  exactMatch: number | null;
}

async function openModel(context: StageContext<Settings>, label: string): Promise<OpenModel> {
  const { settings, inputs, addon, threads, name, baseDir } = context;
  const { path, type } = inputs[`models.${label}`]!;
  const folder = await openModelFolder(path);
  const tokenizer = await loadTokenizer(path, { threads });
  const chat = asksInChat(type, tokenizer);
  const all = await readPrompts(await resolveFiles(settings.dataset, baseDir), tokenizer, chat);
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
  const options = room(settings, threads, maxPositions);
  requireMemory(addon.planSession({ architecture: folder.architecture, ...options }).total, `Stage ${name}`);
  const session = await loadModel(addon, folder, options);
  return { label, folder, tokenizer, stopIds: await readStopIds(path, tokenizer), session, prompts };
}

function room(settings: Settings, threads: number, maxPositions: number) {
  return {
    threads,
    trainable: false,
    maxTokens: 4 * maxPositions,
    maxSequences: 4 * maxPositions,
    maxScored: 4 * maxPositions,
    recompute: false,
    generationSlots: settings.batch_size,
    generationLength: maxPositions,
  };
}

async function judgeModel(
  context: StageContext<Settings>,
  model: OpenModel,
  against: OpenModel,
  index: number,
): Promise<Judged> {
  const { settings } = context;
  const greedy = (await draw(context, model, 2 * index, 0, 1)).map(([response]) => response!);
  const sampled = await draw(context, model, 2 * index + 1, settings.temperature, settings.num_generations);
  const said = sampled.flatMap((responses, group) =>
    responses.map(({ ids }) => ({ group, prompt: model.prompts[group]!.ids, ids: Int32Array.from(ids) })),
  );
  const logProbs = (by: OpenModel) =>
    responseLogProbs(by.session, {}, said, 4 * by.folder.architecture.maxPositions);
  const comparable = model.tokenizer.hash === against.tokenizer.hash && settings.temperature === 1;
  const expected = model.prompts.map(({ fields }) => answers(fields));
  const asked = expected.flatMap((right, i) => (right.length === 0 ? [] : [i]));
  const exact = asked.filter((i) => isExactMatch(greedy[i]!.text, expected[i]!)).length;
  return {
    greedy,
    sampled,
    ...(await scoreAll(context, model, sampled)),
    kl: comparable ? divergence(await logProbs(model), await logProbs(against)) : null,
    exactMatch: asked.length === 0 ? null : exact / asked.length,
  };
}

function draw(
  context: StageContext<Settings>,
  { label, session, tokenizer, stopIds, prompts, folder }: OpenModel,
  log: number,
  temperature: number,
  samples: number,
): Promise<DrawnResponse[][]> {
  const { settings, name } = context;
  return drawResponses({
    label,
    model: { session, tokenizer, stopIds, generationLength: folder.architecture.maxPositions },
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

async function scoreAll(
  { settings, inputs, addon, threads, baseDir }: StageContext<Settings>,
  { tokenizer, prompts, folder }: OpenModel,
  sampled: readonly DrawnResponse[][],
): Promise<Pick<Judged, 'rewards' | 'modelScores'>> {
  const responses = sampled.flatMap((of, i) =>
    of.map(({ text, ids, finish }): Response => {
      const { text: prompt, messages, ids: promptIds, fields } = prompts[i]!;
      return { prompt, messages, promptIds, text, ids: Int32Array.from(ids), finish, fields };
    }),
  );
  const opened: Scorer[] = [];
  try {
    let rewards: (number | null)[] | undefined;
    if (settings.rewards) {
      opened.push(...(await openScorers(settings.rewards, baseDir)));
      const scorers = opened.map((scorer, i) => ({ scorer, weight: settings.rewards![i]!.weight }));
      const stopped = new Uint8Array(responses.length).fill(1);
      const mixed = mixRewards(scorers, await scoreResponses(scorers, responses), stopped, 0);
      rewards = Array.from(mixed, (reward) => (Number.isNaN(reward) ? null : reward));
    }
    let modelScores: (number | null)[] | undefined;
    if (inputs.reward_model) {
      const scorer = await openRewardModel(addon, inputs.reward_model.path, {
        threads,
        maxLength: folder.architecture.maxPositions,
        tokenizerHash: tokenizer.hash,
      });
      opened.push(scorer);
      modelScores = await scorer.score(responses);
    }
    return { rewards, modelScores };
  } finally {
    await Promise.all(opened.map((scorer) => scorer.close()));
  }
}

function columns(settings: Settings): string[] {
  return [
    'model',
    'win_rate',
    ...(settings.rewards ? ['reward'] : []),
    ...(settings.reward_model === undefined ? [] : ['reward_model']),
    'kl',
    'exact_match',
    'trained_parameters',
    'seconds',
  ];
}

function tableRow(
  label: string,
  own: Judged,
  other: Judged,
  settings: Settings,
  cost: { parameters: number | null; seconds: number | null },
): Report['rows'][number] {
  const judge = ({ rewards, modelScores }: Judged) => (rewards ?? modelScores)!;
  return [
    label,
    own === other ? null : winRate(judge(own), judge(other)),
    ...(settings.rewards ? [meanScore(own.rewards!)] : []),
    ...(own.modelScores ? [meanScore(own.modelScores)] : []),
    own === other ? 0 : own.kl,
    own.exactMatch,
    cost.parameters,
    cost.seconds,
  ];
}

/** Weights that the model's stage trained, and how long it ran; null for a folder from elsewhere. */
async function trainingCost({
  path,
}: Artifact): Promise<{ parameters: number | null; seconds: number | null }> {
  const lineage = await readLineage(path);
  const trained = lineage?.results.trained_parameters ?? lineage?.results.parameters;
  return {
    parameters: typeof trained === 'number' ? trained : null,
    seconds: lineage ? Math.round(lineage.seconds) : null,
  };
}

function answers(fields: Readonly<Record<string, unknown>>): string[] {
  return [fields.answer].flat().filter((answer): answer is string => typeof answer === 'string');
}
