/**
 * Settings that all training stages share, by the names of transformers and TRL, and their checks. A stage spreads
 * `trainingFields(defaults)` into its schema and calls `checkTraining` in its refinement.
 */
import { z } from 'zod';
import { loraSettings } from '../models/lora.ts';
import { checkOptimizer, optimizerFields } from './optimizer.ts';

export const schedulerTypes = ['constant', 'linear', 'cosine', 'warmup_stable_decay'] as const;

const fraction = z.number().min(0).max(1);
const count = z.int().positive();

/** The shared fields; stages differ in a few defaults. */
export function trainingFields(defaults: {
  learning_rate: number;
  adam_beta2: number;
  weight_decay: number;
}) {
  return {
    // How long: one of the three; epochs if none is given.
    num_train_epochs: z
      .number()
      .positive()
      .optional()
      .describe(
        'Passes over the rows; a fraction is allowed. Default: 1, if neither steps nor tokens are given.',
      ),
    max_steps: count.optional().describe('Optimiser steps in all.'),
    max_tokens: count.optional().describe('Tokens that the model reads in all.'),

    lora: loraSettings
      .optional()
      .describe("Trains an adapter over the frozen model instead of the model. Keys are PEFT's."),

    // Batch.
    per_device_train_batch_size: count
      .default(8)
      .describe('Rows of a microbatch; packed: as many rows of max_length.'),
    gradient_accumulation_steps: count.default(1).describe('Microbatches of an optimiser step.'),
    max_length: count.optional().describe("Longest row in tokens; default: the model's context."),
    gradient_checkpointing: z.boolean().default(false).describe('Compute activations again in backward.'),

    // Optimiser.
    learning_rate: z
      .number()
      .positive()
      .default(defaults.learning_rate)
      .describe('The highest of the schedule.'),
    lr_scheduler_type: z.enum(schedulerTypes).default('cosine').describe('What follows the warm-up.'),
    min_lr_ratio: fraction.default(0).describe('Where a decay ends, as a share of learning_rate.'),
    warmup_ratio: fraction
      .optional()
      .describe('Share of the steps in which the rate rises. Default: a few per cent.'),
    warmup_steps: z.int().min(0).optional().describe('Steps in which the rate rises.'),
    decay_ratio: fraction.default(0.2).describe('Share of the steps in which warmup_stable_decay decays.'),
    ...optimizerFields(defaults),

    // Guard. A loss or gradient that is not a number always counts as a spike.
    max_loss_spike: z
      .number()
      .positive()
      .optional()
      .describe('A loss so many nats above the mean of the last steps goes back to the last snapshot.'),
    max_grad_norm_spike: z
      .number()
      .gt(1)
      .optional()
      .describe('The same for a gradient norm so many times the mean of the last steps.'),

    // What is told, and kept.
    eval_steps: count.optional().describe('Validation every so many steps, and at the end.'),
    max_eval_tokens: count.default(65_536).describe('Tokens of a validation at most.'),
    load_best_model_at_end: z
      .boolean()
      .default(false)
      .describe(
        'The result is the model of the lowest validation loss; else that one lies beside it, in `best`.',
      ),
    sample_steps: count.optional().describe('Samples of text every so many steps.'),
    sample_prompts: z
      .array(z.string().min(1))
      .default([])
      .describe('What the samples go on from, or answer.'),
    sample_max_new_tokens: count.default(48).describe('Tokens of a sample at most.'),
    save_steps: count.default(200).describe('A checkpoint every so many steps.'),
    save_seconds: z.number().positive().default(300).describe('A checkpoint at the latest after this time.'),
    keep_last: count.default(2).describe('Checkpoints that are kept while the stage runs.'),
  };
}

export type TrainingSettings = z.output<z.ZodObject<ReturnType<typeof trainingFields>>>;

/** How long a training is. */
export type TrainingLength = { steps: number } | { epochs: number } | { tokens: number };

/** The length that the settings give: one epoch, unless they say otherwise. */
export function trainingLength(settings: TrainingSettings): TrainingLength {
  const { max_steps, max_tokens, num_train_epochs } = settings;
  if (max_steps !== undefined) return { steps: max_steps };
  return max_tokens === undefined ? { epochs: num_train_epochs ?? 1 } : { tokens: max_tokens };
}

/** `warmup_ratio` and `warmup_steps` in steps; `fallback` is the ratio when neither is given. */
export function warmupSteps(settings: TrainingSettings, totalSteps: number, fallback: number): number {
  return settings.warmup_steps ?? Math.floor((settings.warmup_ratio ?? fallback) * totalSteps);
}

/** Validation that lacks its rows, and rows that nothing reads. */
export function checkValidation(
  settings: { eval_steps?: number | undefined; eval_dataset?: readonly string[] | undefined },
  context: z.RefinementCtx,
): void {
  const issue = (path: string, message: string) =>
    context.addIssue({ code: 'custom', path: [path], message });
  const { eval_steps, eval_dataset } = settings;
  if (eval_steps !== undefined && eval_dataset === undefined) issue('eval_steps', 'needs eval_dataset');
  if (eval_dataset !== undefined && eval_steps === undefined)
    issue('eval_dataset', 'is for the validation at eval_steps, which is not given');
}

/** Contradictions between the shared fields. */
export function checkTraining(settings: TrainingSettings, context: z.RefinementCtx): void {
  const issue = (path: string, message: string) =>
    context.addIssue({ code: 'custom', path: [path], message });
  const lengths = (['num_train_epochs', 'max_steps', 'max_tokens'] as const).filter(
    (key) => settings[key] !== undefined,
  );
  if (lengths.length > 1) issue(lengths[1]!, `contradicts ${lengths[0]}; give one of them`);
  if (settings.warmup_ratio !== undefined && settings.warmup_steps !== undefined) {
    issue('warmup_steps', 'contradicts warmup_ratio; give one of them');
  }
  if (settings.max_steps !== undefined && (settings.warmup_steps ?? 0) >= settings.max_steps) {
    issue('warmup_steps', `is not below max_steps (${settings.max_steps})`);
  }
  if (settings.load_best_model_at_end && settings.eval_steps === undefined) {
    issue('load_best_model_at_end', 'needs eval_steps: the best model is found by validation loss');
  }
  if (settings.sample_steps !== undefined && settings.sample_prompts.length === 0) {
    issue('sample_prompts', 'is empty, but sample_steps asks for samples');
  }
  checkOptimizer(settings, issue);
}
