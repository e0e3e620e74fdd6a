/**
 * `distill`: a student learns the distributions of a teacher on given answers, from log-probabilities that the rows
 * bring or that the teacher gives once beforehand.
 */
import { z } from 'zod';
import { distillObjective } from '../preference/distillation.ts';
import { planPreference } from '../preference/plan.ts';
import { checkPreference, preferenceFields, preferenceInputs } from '../preference/settings.ts';
import { preferenceFiles, runPreference } from '../preference/stage.ts';
import { teachRows } from '../preference/teacher.ts';
import { MODEL_TYPES } from './model_types.ts';
import { defineStage } from './stage.ts';

const schema = z
  .strictObject({
    ...preferenceFields(1e-5),
    teacher: z
      .string()
      .optional()
      .describe(
        'The model to learn from: a stage, or a folder. Without it the rows bring top_ids and top_log_probs.',
      ),
    top_k: z.int().min(1).max(1024).default(64).describe("The teacher's likeliest tokens that are compared."),
    beta: z
      .number()
      .min(0)
      .max(1)
      .default(0.5)
      .describe('0: forward KL, 1: reverse KL, between: the generalised Jensen-Shannon divergence.'),
    temperature: z
      .number()
      .positive()
      .default(1)
      .describe("Of the student's and the teacher's distributions."),
  })
  .superRefine((settings, context) => {
    checkPreference(settings, context);
    if (settings.teacher === undefined && settings.temperature !== 1) {
      context.addIssue({
        code: 'custom',
        path: ['temperature'],
        message: 'needs a teacher: log-probabilities in rows have the temperature that they were stored with',
      });
    }
  });

export const distillStage = defineStage({
  type: 'distill',
  doc: 'Trains a student on the distributions of a teacher.',
  schema,
  serves: true,
  trains: true,
  inputs: {
    ...preferenceInputs,
    dataset: { types: ['generate', 'rank'], orFiles: true },
    teacher: { types: MODEL_TYPES, optional: true },
  },
  files: preferenceFiles,
  plan: (context) =>
    planPreference(context, {
      kind: 'completions',
      answers: 1,
      reference: false,
      targets: context.settings.top_k,
    }),
  run: (context) =>
    runPreference(context, {
      kind: 'completions',
      scored: 'answers',
      async objective({ train, validation, tokenizer }) {
        const k = await teachRows(context, [...train, ...validation], tokenizer);
        return distillObjective(context.settings, k);
      },
    }),
});
