/**
 * `evaluate`: several models side by side on a file of questions with answers or of texts. Out come a table (event
 * `report`, report.json, report.md) and every output (outputs.jsonl).
 */
import { join } from 'node:path';
import { z } from 'zod';
import type { EventBody } from '../../proto/events.ts';
import { dataFiles } from '../data/files.ts';
import { rowFiles, stageRows } from '../data/shapes/read.ts';
import { rowSettings } from '../data/shapes/settings.ts';
import { textLikelihood } from '../evaluation/likelihood.ts';
import type { Outcome } from '../evaluation/outcome.ts';
import { modelOverlaps, overlapReport } from '../evaluation/overlap.ts';
import { reportMarkdown, reportTable } from '../evaluation/report.ts';
import { type EvaluationRow, type Question, questionText, readEvaluationRows } from '../evaluation/rows.ts';
import { asksInChat, chatPrompt, completeBatch, rawPrompt } from '../models/complete.ts';
import { loadModel, openLanguageModel } from '../models/load.ts';
import { readStopIds } from '../models/save.ts';
import type { Architecture, SessionOptions } from '../native/addon.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { plannedArchitecture } from '../training/planned.ts';
import { readJson, writeFileAtomic } from '../util/files.ts';
import { requireMemory } from '../util/memory.ts';
import { MODEL_TYPES } from './model_types.ts';
import { checkPrompting, promptingField } from './prompting.ts';
import { type Artifact, defineStage, type ServedModel, type StageContext, StageStopped } from './stage.ts';

const regex = z.string().refine(isRegex, 'not a regular expression');

const schema = z
  .strictObject({
    models: z
      .record(z.string(), z.string())
      .refine((models) => Object.keys(models).length > 0, 'names no model')
      .describe('Models by the name that the table gives them: stages, or folders.'),
    dataset: dataFiles.describe(
      'Data files: `prompt` (or `messages`) and `answer`, prompts with completions, or `text`.',
    ),
    ...rowSettings.shape,
    prompting: promptingField,
    max_new_tokens: z.int().positive().default(64).describe('Tokens of an answer at most.'),
    stop: z.array(z.string().min(1)).default([]).describe('Texts that end an answer.'),
    batch_size: z.int().positive().default(16).describe('Questions answered side by side.'),
    group_by: z
      .string()
      .min(1)
      .optional()
      .describe('Field of the rows; each of its values gets its own lines.'),
    rates: z
      .record(z.string(), regex)
      .default({})
      .describe('Further columns: how often a regular expression is found in the output.'),
    examples: z.int().min(0).default(5).describe('Outputs that the report shows for each group.'),
  })
  .superRefine(checkPrompting);
type Settings = z.output<typeof schema>;

export const evaluateStage = defineStage({
  type: 'evaluate',
  doc: 'Asks models questions and measures exact match, or perplexity on texts.',
  schema,
  inputs: { models: { types: MODEL_TYPES } },
  files: rowFiles,

  async plan({ settings, addon, threads, inputs }) {
    let memoryBytes = 0;
    for (const model of Object.values(inputs)) {
      const architecture = await plannedArchitecture(model);
      memoryBytes = Math.max(
        memoryBytes,
        addon.planSession(sessionOptions(settings, architecture, threads)).total,
      );
    }
    return { memoryBytes, diskBytes: 1e6, seconds: null, detail: { models: Object.keys(inputs).length } };
  },

  async run(context) {
    const { settings, name, outDir } = context;
    const rows = await readEvaluationRows(stageRows(context, settings.dataset));
    const overlaps = await modelOverlaps(rows, context, settings.models);
    const outcomes = new Map<string, Outcome[]>();
    for (const [model, artifact] of Object.entries(context.inputs)) {
      const label = model.slice('models.'.length);
      outcomes.set(label, await evaluateModel(context, label, artifact, rows));
    }
    const { others, ...table } = reportTable(rows, outcomes, settings, overlaps);
    const overlap = overlapReport(overlaps, others, settings.dataset);
    const report: EventBody<'report'> = { stage: name, title: name, ...table, overlap };
    await writeFileAtomic(join(outDir, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
    await writeFileAtomic(join(outDir, 'report.md'), reportMarkdown(report));
    const lines = rows.map((row, i) =>
      JSON.stringify({
        ...row.fields,
        outputs: Object.fromEntries([...outcomes].map(([label, of]) => [label, of[i]!.output])),
      }),
    );
    await writeFileAtomic(join(outDir, 'outputs.jsonl'), `${lines.join('\n')}\n`);
    context.emit('report', report, `${name}/report`);
  },

  async retell(artifact, { name, emit }) {
    const report = (await readJson(
      join(artifact.path, 'report.json'),
      'artifact_corrupt',
    )) as EventBody<'report'>;
    emit('report', { ...report, stage: name, title: name }, `${name}/report`);
  },
});

async function evaluateModel(
  context: StageContext<Settings>,
  label: string,
  artifact: Artifact,
  rows: readonly EvaluationRow[],
): Promise<Outcome[]> {
  const { settings, addon, threads } = context;
  const folder = await openLanguageModel(artifact.path);
  const tokenizer = await loadTokenizer(artifact.path, { threads });
  const options = sessionOptions(settings, folder.architecture, threads);
  requireMemory(addon.planSession(options).total, `Stage ${context.name}`);
  const session = await loadModel(addon, folder, options);
  try {
    const served: ServedModel = {
      session,
      tokenizer,
      stopIds: await readStopIds(artifact.path, tokenizer),
      generationLength: options.generationLength,
    };
    const chat = asksInChat(artifact.type, tokenizer, settings.prompting[label]);
    return await outcomesOf(context, label, served, rows, chat, folder.architecture.maxPositions);
  } finally {
    await session.close();
  }
}

async function outcomesOf(
  context: StageContext<Settings>,
  label: string,
  model: ServedModel,
  rows: readonly EvaluationRow[],
  chat: boolean,
  maxLength: number,
): Promise<Outcome[]> {
  const { settings, name } = context;
  const { signal } = new AbortController();
  const sampling = {
    max_new_tokens: settings.max_new_tokens,
    temperature: 0,
    top_k: 0,
    top_p: 1,
    min_p: 0,
    repetition_penalty: 1,
    stop: settings.stop,
    seed: context.seed,
  };
  const outcomes: Outcome[] = rows.map(() => ({ output: undefined, likelihood: undefined }));
  const asked = rows.flatMap((row, i) => (row.question ? [i] : []));
  const texts = rows.flatMap((row, i) => (row.question ? [] : [i]));
  let done = 0;
  const tell = (count: number) => {
    done += count;
    context.emit(
      'progress',
      { stage: name, done, total: rows.length, unit: 'row', metrics: {} },
      `${name}/${label}/row/${done}`,
    );
    if (context.checkpointRequested()) throw new StageStopped();
  };
  for (let from = 0; from < asked.length; from += settings.batch_size) {
    const batch = asked.slice(from, from + settings.batch_size);
    const prompts = batch.map((i) => questionPrompt(model.tokenizer, rows[i]!.question!, chat));
    const outputs = await completeBatch(model, prompts, sampling, signal);
    batch.forEach((i, k) => {
      outcomes[i]!.output = outputs[k]!;
    });
    tell(batch.length);
  }
  for (const i of texts) {
    outcomes[i]!.likelihood = await textLikelihood(model.session, model.tokenizer, rows[i]!.text!, maxLength);
    tell(1);
  }
  return outcomes;
}

function questionPrompt(tokenizer: Tokenizer, question: Question, chat: boolean): Int32Array {
  if (chat) {
    const messages =
      'messages' in question ? question.messages : [{ role: 'user', content: question.prompt }];
    return chatPrompt(tokenizer, messages, question);
  }
  return rawPrompt(tokenizer, questionText(question));
}

function sessionOptions(settings: Settings, architecture: Architecture, threads: number): SessionOptions {
  const maxTokens = architecture.maxPositions;
  return {
    architecture,
    threads,
    trainable: false,
    maxTokens,
    maxSequences: settings.batch_size,
    maxScored: maxTokens,
    recompute: false,
    generationSlots: settings.batch_size,
    generationLength: architecture.maxPositions,
  };
}

function isRegex(source: string): boolean {
  try {
    new RegExp(source, 'u');
    return true;
  } catch {
    return false;
  }
}
