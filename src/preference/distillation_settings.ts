/** Settings of distillation by TRL's names (GKDConfig, and `loss_top_k`, `teacher_temperature` of its relatives). */
import { z } from 'zod';
import { checkPreference, type PreferenceSettings, preferenceFields } from './settings.ts';

/** TRL's default of `lmbda`, where there is a teacher to score what the student writes. */
const DEFAULT_LMBDA = 0.5;

export const distillSchema = z
  .strictObject({
    ...preferenceFields(1e-5),
    teacher: z
      .string()
      .optional()
      .describe(
        'The model to learn from: a stage, or a folder. Without it the rows bring top_ids and top_log_probs.',
      ),
    lmbda: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe(
        'Share of the microbatches whose answers the student writes itself. Default: 0.5 with a teacher, else 0.',
      ),
    seq_kd: z
      .boolean()
      .default(false)
      .describe('The teacher writes the answers of the other microbatches, instead of the dataset.'),
    beta: z
      .number()
      .min(0)
      .max(1)
      .default(0.5)
      .describe('0: forward KL, 1: reverse KL, between: the generalised Jensen-Shannon divergence.'),
    temperature: z.number().positive().default(0.9).describe('Of writing answers.'),
    max_new_tokens: z.int().positive().default(128).describe('Tokens of a written answer at most.'),
    loss_top_k: z
      .int()
      .min(0)
      .default(64)
      .describe('Likeliest tokens that are compared, all others together as one more. 0: all tokens.'),
    teacher_temperature: z
      .number()
      .positive()
      .default(1)
      .describe("Of the student's and the teacher's distributions in the divergence."),
  })
  .superRefine((settings, context) => {
    checkPreference(settings, context);
    const issue = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    const live = writesAnswers(settings);
    if (settings.teacher === undefined) {
      if (settings.lmbda !== undefined && settings.lmbda > 0)
        issue('lmbda', 'needs a teacher: nothing else scores what the student writes');
      if (settings.seq_kd) issue('seq_kd', 'needs a teacher: who else is to write?');
      if (settings.teacher_temperature !== 1)
        issue(
          'teacher_temperature',
          'needs a teacher: log-probabilities in rows have the temperature that they were stored with',
        );
    } else if (live) {
      if (settings.packing)
        issue('packing', 'needs lmbda: 0, for the length of what is written is not known');
      if (settings.max_tokens !== undefined)
        issue('max_tokens', 'cannot be foreseen here; give max_steps or num_train_epochs, or lmbda: 0');
    }
  });

export type DistillSettings = z.output<typeof distillSchema> & PreferenceSettings;

/** The share of microbatches that the student writes. */
export function lmbdaOf({ lmbda, teacher }: Pick<DistillSettings, 'lmbda' | 'teacher'>): number {
  return lmbda ?? (teacher === undefined ? 0 : DEFAULT_LMBDA);
}

/** Whether answers are written in training, so that the teacher is asked then. */
export function writesAnswers(settings: Pick<DistillSettings, 'lmbda' | 'teacher' | 'seq_kd'>): boolean {
  return lmbdaOf(settings) > 0 || settings.seq_kd;
}

/** Whether answers of the dataset are never used: then prompts are enough. */
export function writesAll(settings: Pick<DistillSettings, 'lmbda' | 'teacher' | 'seq_kd'>): boolean {
  return lmbdaOf(settings) === 1 || settings.seq_kd;
}

/** Tokens that the divergence is taken over. */
export function supportSize({ loss_top_k }: Pick<DistillSettings, 'loss_top_k'>, vocabSize: number): number {
  return loss_top_k === 0 ? vocabSize : Math.min(loss_top_k, vocabSize);
}
