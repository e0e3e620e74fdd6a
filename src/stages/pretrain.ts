/**
 * `pretrain`: a language model from a prepared dataset, with new weights (`model:`) or going on from others
 * (`base:`). Documents are packed without padding, attention stays inside of them.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { openTokenDataset, type TokenDataset } from '../data/dataset.ts';
import { rawPrompt } from '../models/complete.ts';
import { type ModelFolder, openLanguageModel } from '../models/load.ts';
import { modelSettingsSchema, newArchitecture } from '../models/settings.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { type AuditedRow, auditRows } from '../training/audit.ts';
import { checkPacking, emitAudit, packingStrategy, tooLongOf } from '../training/packing.ts';
import { plannedArchitecture, plannedDatasetTokens, plannedVocabulary } from '../training/planned.ts';
import { documentRows } from '../training/rows.ts';
import { planTraining, retellTraining, rowLength, runTraining, trainingSession } from '../training/run.ts';
import { checkTraining, trainingFields } from '../training/settings.ts';
import { supervisedWork } from '../training/supervised_work.ts';
import { MODEL_TYPES } from './model_types.ts';
import { defineStage, type PlanContext, type StageContext } from './stage.ts';

const DEFAULT_WARMUP_RATIO = 0.01;
const TOO_LONG = ['split', 'drop'] as const;

const schema = z
  .strictObject({
    dataset: z.string().describe('A `prepare` stage.'),
    model: modelSettingsSchema.optional().describe('A new model.'),
    base: z.string().optional().describe('A model to go on from: a stage, or a folder.'),
    packing_strategy: packingStrategy,
    too_long: z
      .enum(TOO_LONG)
      .optional()
      .describe(
        'What becomes of documents longer than max_length: cut into pieces of it, or left out; without it they are an error.',
      ),
    ...trainingFields({ learning_rate: 6e-4, adam_beta2: 0.95, weight_decay: 0.1 }),
  })
  .superRefine((settings, context) => {
    checkTraining(settings, context);
    checkPacking(settings, context);
    if ((settings.model === undefined) === (settings.base === undefined)) {
      context.addIssue({
        code: 'custom',
        path: [settings.model === undefined ? 'model' : 'base'],
        message: 'give either model (a new one) or base (one to go on from)',
      });
    }
    if (settings.lora !== undefined && settings.model !== undefined) {
      context.addIssue({ code: 'custom', path: ['lora'], message: 'adapts a model that exists: give base' });
    }
    const context_size = settings.model?.max_position_embeddings;
    if (
      context_size !== undefined &&
      settings.max_length !== undefined &&
      settings.max_length > context_size
    ) {
      context.addIssue({
        code: 'custom',
        path: ['max_length'],
        message: `${settings.max_length} is longer than model.max_position_embeddings (${context_size})`,
      });
    }
  });
type Settings = z.output<typeof schema>;

export const pretrainStage = defineStage({
  type: 'pretrain',
  doc: 'Trains a language model on a prepared dataset.',
  schema,
  serves: true,
  trains: true,
  inputs: { dataset: { types: ['prepare'] }, base: { types: MODEL_TYPES, optional: true } },
  retell: retellTraining,
  files: async () => [],

  async plan(context) {
    const { settings, addon, threads } = context;
    const architecture = settings.model
      ? newArchitecture(settings.model, await plannedVocabulary(context.inputs.dataset!)).architecture
      : await plannedArchitecture(context.inputs.base!);
    const maxLength = rowLength(settings, architecture, context.name);
    const session = trainingSession(settings, architecture, threads, maxLength);
    const tokens = await plannedTokens(context, maxLength);
    return planTraining(addon, settings, session, tokens, context.matrixSpeed);
  },

  async run(context) {
    const dataset = openTokenDataset(context.inputs.dataset!.path, 'train');
    const validation = openTokenDataset(context.inputs.dataset!.path, 'validation');
    try {
      await train(context, dataset, validation);
    } finally {
      dataset.close();
      validation.close();
    }
  },
});

async function train(
  context: StageContext<Settings>,
  dataset: TokenDataset,
  validation: TokenDataset,
): Promise<void> {
  const { settings, name, threads } = context;
  const tokenizer = await loadTokenizer(join(context.inputs.dataset!.path, 'tokenizer'), { threads });
  const base = context.inputs.base ? await openLanguageModel(context.inputs.base.path) : undefined;
  if (base) await requireSameTokenizer(base, tokenizer, name);
  const model = base ?? {
    ...newArchitecture(settings.model!, tokenizer.vocabSize),
    initializerRange: settings.model!.initializer_range,
  };
  const maxLength = rowLength(settings, model.architecture, name);
  const endIds = new Set(tokenizer.eosId === undefined ? [] : [tokenizer.eosId]);
  const tooLong = tooLongOf(settings);
  const rules = {
    stage: name,
    maxLength: maxLength + 1,
    tooLong,
    tooLongChoices: TOO_LONG,
    // What documents are split into holds all of them.
    fit: tooLong === 'drop' ? () => [] : undefined,
    endIds,
  };
  const audit = auditRows(documents(dataset), tokenizer, rules);
  const data = {
    rows: documentRows(dataset, maxLength, tooLong === 'drop'),
    validation: documentRows(validation, maxLength, tooLong === 'drop'),
    maxLength,
    packing: settings.packing_strategy,
  };
  emitAudit(context, audit, data);
  await runTraining(context, {
    model,
    base,
    tokenizer,
    stopIds: [...endIds],
    samplePrompt: (text) => rawPrompt(tokenizer, text),
    defaultWarmupRatio: DEFAULT_WARMUP_RATIO,
    rows: data.rows.count,
    work: (runtime) => supervisedWork(runtime, context, data),
  });
}

function* documents(dataset: TokenDataset): Generator<AuditedRow> {
  for (let i = 0; i < dataset.numDocuments; i++) {
    yield { ids: dataset.document(i), scored: undefined, origin: dataset.origin(i) };
  }
}

async function requireSameTokenizer(base: ModelFolder, tokenizer: Tokenizer, stage: string): Promise<void> {
  const own = await loadTokenizer(base.path);
  if (own.hash === tokenizer.hash) return;
  throw new AnnealError(
    'tokenizer_invalid',
    `${stage}: the dataset was prepared with another tokenizer than that of ${base.path}.`,
    { path: `stages.${stage}.dataset`, hint: 'Prepare the dataset with `tokenizer:` set to the base model.' },
  );
}

/** Tokens that training reads in all. */
async function plannedTokens(context: PlanContext<Settings>, maxLength: number): Promise<number> {
  const { settings, inputs, baseDir } = context;
  if (settings.max_tokens !== undefined) return settings.max_tokens;
  if (settings.max_steps !== undefined) {
    const { per_device_train_batch_size, gradient_accumulation_steps } = settings;
    return settings.max_steps * per_device_train_batch_size * gradient_accumulation_steps * maxLength;
  }
  return (await plannedDatasetTokens(inputs.dataset!, baseDir)) * (settings.num_train_epochs ?? 1);
}
