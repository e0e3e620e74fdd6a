/**
 * `sft`: supervised fine-tuning of a model on conversations, prompts with completions, or text. Loss on what the
 * assistant writes only, unless the recipe says otherwise.
 */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { SupervisedRow } from '../data/dataset.ts';
import { dataFiles } from '../data/files.ts';
import { remarkTexts } from '../data/remarks.ts';
import { rowFiles, stageRows } from '../data/shapes/read.ts';
import { rowSettings } from '../data/shapes/settings.ts';
import { LOSS_ON, readSupervised } from '../data/supervised.ts';
import { userPrompt } from '../models/complete.ts';
import { openLanguageModel } from '../models/load.ts';
import { checkTemplate } from '../tokenizer/chat_template.ts';
import { loadTokenizer, saveTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { auditRows } from '../training/audit.ts';
import { checkPacking, emitAudit, packingStrategy, tooLongOf } from '../training/packing.ts';
import { plannedArchitecture, plannedFileTokens } from '../training/planned.ts';
import { fitRow, fitRows, supervisedRows } from '../training/rows.ts';
import { planTraining, retellTraining, rowLength, runTraining, trainingSession } from '../training/run.ts';
import { checkTraining, checkValidation, trainingFields } from '../training/settings.ts';
import { supervisedWork } from '../training/supervised_work.ts';
import { exists, makeDir } from '../util/files.ts';
import { MODEL_TYPES } from './model_types.ts';
import { defineStage, type StageContext, StageStopped } from './stage.ts';

const DEFAULT_WARMUP_RATIO = 0.03;

const TOO_LONG = ['truncate', 'split', 'drop'] as const;

const schema = z
  .strictObject({
    model: z.string().describe('The model to fine-tune: a stage, or a folder.'),
    dataset: dataFiles.describe('Data files, of any format and shape: names or glob patterns.'),
    eval_dataset: dataFiles.optional().describe('Data files for the validation loss.'),
    ...rowSettings.shape,
    assistant_only_loss: z
      .boolean()
      .default(true)
      .describe('Of conversations, score what the assistant writes only.'),
    loss_on: z
      .enum(LOSS_ON)
      .default('all')
      .describe(
        'Of the answers of a conversation, score all, the last, or those whose message has weight: 1. One with weight: 0 is never scored.',
      ),
    completion_only_loss: z
      .boolean()
      .default(true)
      .describe('Of prompts with completions, score the completion only.'),
    packing: z.boolean().default(true).describe('Fill microbatches with as many rows as have room.'),
    packing_strategy: packingStrategy,
    too_long: z
      .enum(TOO_LONG)
      .optional()
      .describe(
        'What becomes of rows longer than max_length: cut, cut into several, or left out; without it they are an error.',
      ),
    chat_template: z.string().min(1).optional().describe('Jinja, or the name of a file with it.'),
    ...trainingFields({ learning_rate: 5e-5, adam_beta2: 0.999, weight_decay: 0 }),
  })
  .superRefine((settings, context) => {
    checkTraining(settings, context);
    checkValidation(settings, context);
    checkPacking(settings, context);
    if (!settings.packing && settings.packing_strategy !== 'best_fit') {
      context.addIssue({ code: 'custom', path: ['packing_strategy'], message: 'needs packing: true' });
    }
    if (settings.loss_on !== 'all' && !settings.assistant_only_loss) {
      context.addIssue({
        code: 'custom',
        path: ['loss_on'],
        message: 'is for the answers alone: it contradicts assistant_only_loss: false',
      });
    }
  });
type Settings = z.output<typeof schema>;

export const sftStage = defineStage({
  type: 'sft',
  doc: 'Fine-tunes a model on conversations or prompts with completions.',
  schema,
  serves: true,
  trains: true,
  inputs: { model: { types: MODEL_TYPES } },
  retell: retellTraining,

  async files(settings, baseDir) {
    const { chat_template } = settings;
    const template = chat_template === undefined ? undefined : await templateFile(chat_template, baseDir);
    const data = await rowFiles(settings, baseDir);
    return template === undefined ? data : [...data, template];
  },

  async plan(context) {
    const { settings, addon, threads, inputs } = context;
    const architecture = await plannedArchitecture(inputs.model!);
    const maxLength = rowLength(settings, architecture, context.name);
    const session = trainingSession(settings, architecture, threads, maxLength);
    const perEpoch = await plannedFileTokens(settings.dataset, context.baseDir);
    const perStep = settings.per_device_train_batch_size * settings.gradient_accumulation_steps * maxLength;
    const tokens =
      settings.max_tokens ??
      (settings.max_steps === undefined
        ? perEpoch * (settings.num_train_epochs ?? 1)
        : settings.max_steps * perStep);
    return planTraining(addon, settings, session, tokens, context.matrixSpeed);
  },

  async run(context) {
    const { settings, name } = context;
    const base = await openLanguageModel(context.inputs.model!.path);
    const tokenizer = await stageTokenizer(context);
    const rows = await readRows(context, 'dataset', tokenizer);
    const maxLength = rowLength(settings, base.architecture, name);
    const closing = closingTokens(rows, tokenizer);
    const tooLong = tooLongOf(settings);
    const rules = {
      stage: name,
      maxLength,
      tooLong,
      tooLongChoices: TOO_LONG,
      fit: tooLong && ((row: SupervisedRow) => fitRow(row, maxLength, tooLong)),
      endIds: closing,
    };
    const audit = auditRows(rows, tokenizer, rules);
    const fitted = fitRows(rows, maxLength, tooLong ?? 'truncate');
    const evalRows = settings.eval_dataset
      ? fitRows(await readRows(context, 'eval_dataset', tokenizer), maxLength, tooLong ?? 'truncate')
      : undefined;
    const trained = supervisedRows(fitted);
    const packing = settings.packing ? settings.packing_strategy : null;
    const data = { rows: trained, validation: evalRows && supervisedRows(evalRows), maxLength, packing };
    emitAudit(context, audit, data);
    tellRemarks(context, rows);
    await runTraining(context, {
      model: base,
      base,
      tokenizer,
      stopIds: [...closing],
      samplePrompt: (text) => userPrompt(tokenizer, text, settings.chat_template_kwargs),
      defaultWarmupRatio: DEFAULT_WARMUP_RATIO,
      rows: trained.count,
      work: (runtime) => supervisedWork(runtime, context, data),
    });
  },
});

/** The model's tokenizer, with the recipe's chat template if it gives one. */
async function stageTokenizer(context: StageContext<Settings>): Promise<Tokenizer> {
  const { settings, baseDir, threads, workDir } = context;
  const tokenizer = await loadTokenizer(context.inputs.model!.path, { threads });
  if (settings.chat_template === undefined) return tokenizer;
  const file = await templateFile(settings.chat_template, baseDir);
  const template = file === undefined ? settings.chat_template : await readFile(file, 'utf8');
  checkTemplate(template);
  const changed = new Map(tokenizer.files);
  changed.delete('chat_template.jinja');
  const config = JSON.parse(changed.get('tokenizer_config.json') ?? '{}') as Record<string, unknown>;
  changed.set(
    'tokenizer_config.json',
    `${JSON.stringify({ ...config, chat_template: template }, null, 2)}\n`,
  );
  const dir = join(workDir, 'tokenizer');
  await makeDir(dir);
  await saveTokenizer({ files: changed }, dir);
  return loadTokenizer(dir, { threads });
}

/** The file that `chat_template` names, or undefined where it is a template itself. */
async function templateFile(value: string, baseDir: string): Promise<string | undefined> {
  if (/[\n{]/.test(value)) return undefined;
  const path = resolve(baseDir, value);
  if (await exists(path)) return path;
  throw new AnnealError('file_not_found', `chat_template names ${path}, which does not exist.`, {
    path,
    hint: 'Give the template itself (Jinja has braces), or a file relative to the recipe.',
  });
}

async function readRows(
  context: StageContext<Settings>,
  setting: 'dataset' | 'eval_dataset',
  tokenizer: Tokenizer,
): Promise<SupervisedRow[]> {
  const rows: SupervisedRow[] = [];
  const source = stageRows(context, context.settings[setting] ?? [], setting);
  for await (const row of readSupervised(source, tokenizer, context.settings)) {
    rows.push(row);
    if (rows.length % 1_000 === 0 && context.checkpointRequested()) throw new StageStopped();
  }
  return rows;
}

/** Says what of the rows may be meant otherwise than it is trained. */
function tellRemarks({ emit, name }: StageContext<Settings>, rows: readonly SupervisedRow[]): void {
  for (const { kind, text } of remarkTexts(rows)) {
    emit('notice', { stage: name, level: 'warning', text }, `${name}/${kind}`);
  }
}

/** EOS, and the special tokens that are scored last in a row: what ends an answer. */
function closingTokens(rows: readonly SupervisedRow[], tokenizer: Tokenizer): Set<number> {
  const special = new Set(tokenizer.specials.values());
  const closing = new Set(tokenizer.eosId === undefined ? [] : [tokenizer.eosId]);
  for (const { ids, scored } of rows) {
    const last = ids[scored.lastIndexOf(1)];
    if (last !== undefined && special.has(last)) closing.add(last);
  }
  return closing;
}
