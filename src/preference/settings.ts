/**
 * Settings that the preference stages share, by TRL's names, and their checks. A stage spreads the fields into its
 * schema and calls `checkPreference` in its refinement.
 */
import { z } from 'zod';
import { dataFiles } from '../data/files.ts';
import { rowSettings } from '../data/shapes/settings.ts';
import { MODEL_TYPES } from '../stages/model_types.ts';
import {
  checkTraining,
  checkValidation,
  type TrainingSettings,
  trainingFields,
} from '../training/settings.ts';
import { TOO_LONG } from './dataset.ts';

/** The fields of every preference stage. */
export function preferenceFields(learningRate: number) {
  return {
    model: z.string().describe('The model to train: a stage, or a folder.'),
    dataset: dataFiles.describe('A `rank` stage, the folder of its result, or data files.'),
    eval_dataset: dataFiles.optional().describe('Data files for the validation loss.'),
    ...rowSettings.shape,
    packing: z
      .boolean()
      .default(false)
      .describe(
        'Fill microbatches with as many rows as have room, instead of per_device_train_batch_size of them.',
      ),
    too_long: z
      .enum(TOO_LONG)
      .optional()
      .describe('What becomes of prompts with answers longer than max_length; without it they are an error.'),
    ...trainingFields({ learning_rate: learningRate, adam_beta2: 0.999, weight_decay: 0 }),
  };
}

/** The fields of stages whose objective compares with a reference model. */
export const referenceFields = {
  ref_model: z
    .string()
    .optional()
    .describe('The reference: a stage, or a folder. Default: the model as it is before training.'),
  precompute_ref_log_probs: z
    .boolean()
    .default(false)
    .describe(
      "Compute the reference's log-probabilities beforehand, kept by content for other runs over the same rows.",
    ),
};

/** The fields of stages whose reference may follow the model (TR-DPO), with `checkSync` for their contradictions. */
export const syncFields = {
  sync_ref_model: z
    .boolean()
    .default(false)
    .describe('Move the reference towards the model every ref_model_sync_steps steps (TR-DPO).'),
  ref_model_mixup_alpha: z
    .number()
    .gt(0)
    .max(1)
    .default(0.6)
    .describe("The model's share in the new reference; the old reference has the rest."),
  ref_model_sync_steps: z.int().positive().default(512).describe('Steps between two moves of the reference.'),
};

export type SyncSettings = Partial<z.output<z.ZodObject<typeof syncFields>>>;

export type PreferenceSettings = TrainingSettings &
  z.output<z.ZodObject<ReturnType<typeof preferenceFields>>> & {
    ref_model?: string | undefined;
    precompute_ref_log_probs?: boolean;
  } & SyncSettings;

/** What names other stages, for `inputs`. */
export const preferenceInputs = {
  model: { types: MODEL_TYPES },
  dataset: { types: ['rank'], orFiles: true },
};
export const referenceInputs = { ...preferenceInputs, ref_model: { types: MODEL_TYPES, optional: true } };

/** Contradictions between the shared fields. */
export function checkPreference(settings: PreferenceSettings, context: z.RefinementCtx): void {
  checkTraining(settings, context);
  checkValidation(settings, context);
  checkSync(settings, context);
}

/** Contradictions between `syncFields` and the rest. */
export function checkSync(
  settings: SyncSettings &
    Pick<TrainingSettings, 'lora'> & { precompute_ref_log_probs?: boolean; beta?: number },
  context: z.RefinementCtx,
): void {
  if (!settings.sync_ref_model) return;
  const issue = (message: string) => context.addIssue({ code: 'custom', path: ['sync_ref_model'], message });
  if (settings.precompute_ref_log_probs)
    issue('moves the reference, whose numbers precompute_ref_log_probs keeps as they are before training');
  if (settings.lora)
    issue('needs the whole model trained: with lora the reference is the frozen base itself');
  if (settings.beta === 0) issue('moves a reference that nothing is compared with: beta is 0');
}
