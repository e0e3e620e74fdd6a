/**
 * `generate`: k responses to each prompt of a dataset, from one or several models, at given temperatures. Out come
 * responses.jsonl (a prompt with its responses a line: texts, ids as drawn, log-probabilities, where each came from)
 * and dataset.json.
 */

import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError, toAnnealError } from '../../proto/errors.ts';
import { dataFiles } from '../data/files.ts';
import { rowFiles, stageRows } from '../data/shapes/read.ts';
import { rowSettings } from '../data/shapes/settings.ts';
import { constraintOf, prepareVocabulary } from '../generation/constraint.ts';
import { type HeldModel, heldOver } from '../models/adapter_base.ts';
import { asksInChat } from '../models/complete.ts';
import { type ModelFolder, openLanguageModel, openModelFolder } from '../models/load.ts';
import { readStopIds } from '../models/save.ts';
import { SharedBase } from '../models/shared_base.ts';
import type { Architecture, SessionOptions } from '../native/addon.ts';
import { type DrawnResponse, drawLog, drawResponses } from '../ranking/draw.ts';
import { DATASET_FILE, type DatasetFile, inputFields, RESPONSES_FILE } from '../ranking/responses.ts';
import { promptFiles } from '../rollout/open.ts';
import { encodePrompts, type Prompt, readPromptRows } from '../rollout/prompts.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { plannedArchitecture, requireRoom } from '../training/planned.ts';
import { writeFileAtomic } from '../util/files.ts';
import { sha256 } from '../util/hash.ts';
import { MODEL_TYPES } from './model_types.ts';
import { checkPrompting, promptingField } from './prompting.ts';
import { type Artifact, defineStage, type StageContext, StageStopped } from './stage.ts';

const schema = z
  .strictObject({
    models: z
      .record(z.string(), z.string())
      .refine((models) => Object.keys(models).length > 0, 'names no model')
      .describe('Models by the name that responses are labelled with: stages, or folders.'),
    dataset: dataFiles.describe(
      'Prompts: data files with `prompt` or `messages`, or a `generate` or `rank` stage.',
    ),
    ...rowSettings.shape,
    num_generations: z
      .int()
      .positive()
      .max(1_000)
      .default(4)
      .describe('Responses to each prompt, from each model at each temperature.'),
    temperatures: z.array(z.number().min(0)).min(1).default([1]),
    max_new_tokens: z.int().positive().default(256).describe('Tokens of a response at most.'),
    top_k: z.int().min(0).default(0),
    top_p: z.number().gt(0).max(1).default(1),
    min_p: z.number().min(0).max(1).default(0),
    repetition_penalty: z.number().gt(0).default(1),
    prompting: promptingField,
    batch_size: z.int().positive().default(16).describe('Responses drawn side by side.'),
    regex: z.string().optional().describe('Each whole response must match this regular expression.'),
    json_schema: z
      .record(z.string(), z.unknown())
      .optional()
      .describe('Each response must be JSON of this schema; instead of `regex`.'),
  })
  .superRefine(({ regex, json_schema }, context) => {
    try {
      constraintOf({ regex, json_schema });
    } catch (error) {
      const path = [regex === undefined ? 'json_schema' : 'regex'];
      context.addIssue({ code: 'custom', path, message: toAnnealError(error).message });
    }
  })
  .superRefine(checkPrompting);
type Settings = z.output<typeof schema>;

export const generateStage = defineStage({
  type: 'generate',
  doc: 'Draws several responses to each prompt of a dataset, for ranking and preference training.',
  schema,
  inputs: {
    models: { types: MODEL_TYPES },
    dataset: { types: ['generate', 'rank'], orFiles: true },
  },
  files: rowFiles,

  async plan({ settings, addon, threads, inputs }) {
    let memoryBytes = 0;
    const models = Object.entries(inputs).filter(([key]) => key.startsWith('models.'));
    for (const [, model] of models) {
      const architecture = await plannedArchitecture(model);
      requireRoom('max_new_tokens', settings.max_new_tokens, architecture.maxPositions);
      const options = sessionOptions(settings, architecture, threads, architecture.maxPositions);
      memoryBytes = Math.max(memoryBytes, addon.planSession(options).total);
    }
    const responses = settings.num_generations * settings.temperatures.length * models.length;
    const detail = { models: models.length, responses_per_prompt: responses };
    return { memoryBytes, diskBytes: 1e6, seconds: null, detail };
  },

  async run(context) {
    const opened = await openModels(context);
    const fitting = fitAll(context, opened);
    const drawn: DrawnResponse[][][] = [];
    let before = 0;
    // Models over one base are drawn one after the other, with the base held once.
    for (const [base, models] of Map.groupBy(opened, ({ held }) => held.base)) {
      const longest = Math.max(
        ...models.flatMap(({ prompts }) => fitting.map((row) => prompts[row]!.ids.length)),
      );
      const length = longest + context.settings.max_new_tokens;
      const shared = await openShared(context, base, length);
      try {
        for (const model of models) {
          const prompts = fitting.map((row) => model.prompts[row]!);
          const at = { before, total: opened.length * prompts.length };
          drawn[model.index] = await drawModel(context, model, shared, length, prompts, at);
          before += prompts.length;
        }
      } finally {
        await shared.close();
      }
    }
    await writeDataset(context, opened, fitting, drawn);
    const responses = drawn.flat(2);
    context.record({
      prompts: fitting.length,
      responses: responses.length,
      stopped: responses.filter(({ finish }) => finish === 'stop').length / responses.length,
    });
  },
});

/** A model of the stage with the prompts as it is asked them. */
interface OpenedModel {
  label: string;
  /** Its place among the models of the recipe. */
  index: number;
  artifact: Artifact;
  folder: ModelFolder;
  held: HeldModel;
  tokenizer: Tokenizer;
  chat: boolean;
  prompts: Prompt[];
}

async function openModels(context: StageContext<Settings>): Promise<OpenedModel[]> {
  const { settings, inputs, threads } = context;
  const rows = await readPromptRows(stageRows(context, promptFiles(inputs.dataset, settings.dataset)));
  const opened: OpenedModel[] = [];
  for (const [key, artifact] of Object.entries(inputs)) {
    if (!key.startsWith('models.')) continue;
    const label = key.slice('models.'.length);
    const folder = await openLanguageModel(artifact.path);
    const held = await heldOver(artifact.path);
    const tokenizer = await loadTokenizer(artifact.path, { threads });
    const chat = asksInChat(artifact.type, tokenizer, settings.prompting[label]);
    const prompts = encodePrompts(rows, tokenizer, chat);
    opened.push({ label, index: opened.length, artifact, folder, held, tokenizer, chat, prompts });
  }
  return opened;
}

/** Rows whose prompt leaves room for a response in every model; those that do not are told. */
function fitAll({ settings, emit, name }: StageContext<Settings>, models: readonly OpenedModel[]): number[] {
  const { max_new_tokens: room } = settings;
  const all = models[0]!.prompts;
  const fits = (row: number) =>
    models.every(
      ({ prompts, folder }) => prompts[row]!.ids.length + room <= folder.architecture.maxPositions,
    );
  const fitting = [...all.keys()].filter(fits);
  const first = all.find((_, row) => !fits(row));
  if (fitting.length === 0) {
    throw new AnnealError('data_empty', `${name}: no prompt leaves room for ${room} new tokens.`, {
      path: `stages.${name}.max_new_tokens`,
      hint: `The models read ${Math.min(...models.map((m) => m.folder.architecture.maxPositions))} tokens: lower max_new_tokens, or shorten the prompts (${first?.origin}).`,
    });
  }
  if (first) {
    const count = all.length - fitting.length;
    const text = `${count} of ${all.length} prompts left out: they leave no room for ${room} new tokens (the first is ${first.origin}).`;
    emit('notice', { stage: name, level: 'warning', text }, `${name}/too-long`);
  }
  return fitting;
}

/** The base of some models in memory, with room for the longest prompt and its response. */
async function openShared(
  { settings, addon, threads, name }: StageContext<Settings>,
  base: string,
  length: number,
): Promise<SharedBase> {
  const folder = await openModelFolder(base);
  const { architecture, ...options } = sessionOptions(settings, folder.architecture, threads, length);
  return SharedBase.open(addon, folder, options, `Stage ${name}`);
}

/** Draws the responses of one model; `at` says how many prompts were done before it, and of how many. */
async function drawModel(
  context: StageContext<Settings>,
  { label, index, artifact, folder, held, tokenizer }: OpenedModel,
  shared: SharedBase,
  length: number,
  prompts: Prompt[],
  at: { before: number; total: number },
): Promise<DrawnResponse[][]> {
  const { settings, name } = context;
  const { session } = shared;
  const adapter = held.adapter === undefined ? undefined : await shared.add(folder);
  const constraint = constraintOf(settings);
  if (constraint) prepareVocabulary(session, tokenizer, constraint);
  return drawResponses({
    label,
    model: {
      session,
      ...(adapter === undefined ? {} : { adapter }),
      tokenizer,
      stopIds: await readStopIds(artifact.path, tokenizer),
      generationLength: length,
    },
    prompts,
    temperatures: settings.temperatures,
    samples: settings.num_generations,
    draw: {
      maxCompletionLength: settings.max_new_tokens,
      topK: settings.top_k,
      topP: settings.top_p,
      minP: settings.min_p,
      repetitionPenalty: settings.repetition_penalty,
      ...(constraint ? { constraint } : {}),
    },
    seed: context.seed,
    batch: Math.max(1, Math.floor(settings.batch_size / settings.num_generations)),
    log: drawLog(context.workDir, context.hash, index),
    between(done) {
      const all = at.before + done;
      const progress = { stage: name, done: all, total: at.total, unit: 'row', metrics: {} };
      context.emit('progress', progress, `${name}/row/${all}`);
      if (done < prompts.length && context.checkpointRequested()) throw new StageStopped();
    },
  });
}

/** Writes responses.jsonl and dataset.json. Ids stay out where the models have several tokenizers. */
async function writeDataset(
  { outDir }: StageContext<Settings>,
  models: readonly OpenedModel[],
  rows: readonly number[],
  drawn: readonly DrawnResponse[][][],
): Promise<void> {
  const hashes = new Set(models.map(({ tokenizer }) => tokenizer.hash));
  const withIds = hashes.size === 1;
  // A prompt that one model was asked in conversation is one for all who read the dataset.
  const shown = models.find(({ chat }) => chat) ?? models[0]!;
  const lines = rows.map((row, i) => {
    const asked = shown.prompts[row]!;
    const { text, messages, ids, fields } = asked;
    const { id, ...rest } = fields;
    const responses = drawn.flatMap((of) => of[i]!);
    return JSON.stringify({
      id: typeof id === 'string' || typeof id === 'number' ? id : String(row),
      ...(messages ? { messages } : { prompt: text }),
      ...(messages && inputFields(asked)),
      ...(withIds ? { prompt_ids: [...ids] } : {}),
      fields: rest,
      responses: withIds ? responses : responses.map(({ ids: _, log_probs: __, ...response }) => response),
    });
  });
  await writeFileAtomic(join(outDir, RESPONSES_FILE), `${lines.join('\n')}\n`);
  const template = shown.chat ? shown.tokenizer.chatTemplate : undefined;
  const dataset: DatasetFile = {
    format: 1,
    kind: 'responses',
    tokenizer_hash: withIds ? shown.tokenizer.hash : 'mixed',
    chat_template_hash: template === undefined ? null : sha256(template),
    rows: rows.length,
  };
  await writeFileAtomic(join(outDir, DATASET_FILE), `${JSON.stringify(dataset, null, 2)}\n`);
}

function sessionOptions(
  settings: Settings,
  architecture: Architecture,
  threads: number,
  length: number,
): SessionOptions {
  const slots = Math.max(settings.batch_size, settings.num_generations);
  return {
    architecture,
    threads,
    trainable: false,
    maxTokens: length,
    maxSequences: Math.min(slots, length),
    maxScored: Math.min(slots, length),
    recompute: false,
    generationSlots: slots,
    generationLength: Math.min(length, architecture.maxPositions),
  };
}
