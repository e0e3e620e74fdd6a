/**
 * `distill`: a student learns the distributions of a teacher, on answers that it writes itself in training (GKD,
 * Agarwal et al. 2024), that the teacher writes, or that are given. Without answers to be written, the teacher's
 * log-probabilities come with the rows or are computed once beforehand.
 */
import { rowFiles } from '../data/shapes/read.ts';
import { distillObjective } from '../preference/distillation.ts';
import {
  type DistillSettings,
  distillSchema,
  supportSize,
  writesAnswers,
} from '../preference/distillation_settings.ts';
import { runOnPolicy, writingRoom } from '../preference/distillation_stage.ts';
import { planPreference } from '../preference/plan.ts';
import { KEPT_BATCH_ROWS } from '../preference/reference.ts';
import { preferenceInputs } from '../preference/settings.ts';
import { runPreference } from '../preference/stage.ts';
import { teachRows } from '../preference/teacher.ts';
import { teacherBytes } from '../preference/teacher_session.ts';
import { plannedArchitecture } from '../training/planned.ts';
import { rowLength } from '../training/run.ts';
import { MODEL_TYPES } from './model_types.ts';
import { defineStage, type PlanContext, type StagePlan } from './stage.ts';

export const distillStage = defineStage({
  type: 'distill',
  doc: 'Trains a student on the distributions of a teacher.',
  schema: distillSchema,
  serves: true,
  trains: true,
  inputs: {
    ...preferenceInputs,
    dataset: { types: ['generate', 'rank'], orFiles: true },
    teacher: { types: MODEL_TYPES, optional: true },
  },
  files: rowFiles,
  plan: planDistill,
  async run(context) {
    const { settings } = context;
    if (writesAnswers(settings)) return runOnPolicy(context);
    return runPreference(context, {
      kind: 'completions',
      scored: 'answers',
      async objective({ train, validation, tokenizer, architecture }) {
        const wanted = supportSize(settings, architecture.vocabSize);
        const k = await teachRows(context, [...train, ...validation], tokenizer, architecture, wanted);
        const { beta, teacher_temperature: temperature } = settings;
        return distillObjective({ beta, temperature, k, vocabSize: architecture.vocabSize });
      },
    });
  },
});

/** The student, and the teacher: beside it where answers are written in training, else before it. */
async function planDistill(context: PlanContext<DistillSettings>): Promise<StagePlan> {
  const { settings, addon, threads, inputs, name } = context;
  const student = await plannedArchitecture(inputs.model!);
  const targets = supportSize(settings, student.vocabSize);
  const live = writesAnswers(settings);
  const maxLength = rowLength(settings, student, name);
  const writing = writingRoom(settings, student, maxLength);
  const plan = await planPreference(context, {
    kind: 'completions',
    answers: 1,
    reference: false,
    targets,
    ...(live ? { writing: writing.student } : {}),
  });
  if (!inputs.teacher) return plan;
  const room = live
    ? { maxRows: settings.per_device_train_batch_size * maxLength, targets, ...writing.teacher }
    : {
        maxRows: Math.max(KEPT_BATCH_ROWS, maxLength),
        targets: 1,
        generationSlots: 0,
        generationLength: 0,
      };
  const teacher = await teacherBytes(addon, inputs.teacher, threads, room);
  return {
    ...plan,
    memoryBytes: live ? plan.memoryBytes + teacher : Math.max(plan.memoryBytes, teacher),
    detail: { ...plan.detail, teacher_bytes: teacher },
  };
}
