/** What a preference stage will need, before anything is read: microbatches of the longest rows are assumed. */
import { join } from 'node:path';
import { rewardArchitecture } from '../models/families.ts';
import { PROBE_TOKENS } from '../models/save.ts';
import type { PlanContext, StagePlan } from '../stages/stage.ts';
import { plannedArchitecture, plannedFileTokens } from '../training/planned.ts';
import { planTraining, rowLength, type SessionRoom, trainingSession } from '../training/run.ts';
import { trainingLength } from '../training/settings.ts';
import { ARTIFACT_FILES } from './dataset.ts';
import { movingReferenceBytes } from './moving_reference.ts';
import type { PreferenceSettings } from './settings.ts';
import type { PreferenceTask } from './stage.ts';

/** What decides the sizes of a stage. */
export interface PlanShape extends Pick<PreferenceTask, 'kind' | 'scoreHead'> {
  /** Answers of a row. */
  answers: number;
  /** Whether the objective has a reference. */
  reference: boolean;
  /** Targets of a scored row. Absent: 1. */
  targets?: number;
  /** Room for answers that are written in training. Absent: none. */
  writing?: Pick<SessionRoom, 'generationSlots' | 'generationRows'>;
}

/** Memory, disk and time of a stage. */
export async function planPreference(
  context: PlanContext<PreferenceSettings>,
  shape: PlanShape,
): Promise<StagePlan> {
  const { settings, addon, threads, inputs, name, baseDir } = context;
  const own = await plannedArchitecture(inputs.model!);
  const architecture = shape.scoreHead ? rewardArchitecture(own) : own;
  const maxLength = rowLength(settings, architecture, name);
  const maxRows = Math.max(PROBE_TOKENS, settings.per_device_train_batch_size * shape.answers * maxLength);
  const room = {
    maxTokens: maxRows,
    maxSequences: maxRows,
    maxScored: maxRows,
    keepLogits: true,
    maxTargets: maxRows * (shape.targets ?? 1),
    ...shape.writing,
  };
  const session = trainingSession(settings, architecture, threads, maxLength, room);
  const { dataset } = inputs;
  // How many rows a stage that has still to run will make is not known.
  const unknown = dataset !== undefined && !('path' in dataset);
  const files =
    dataset && 'path' in dataset
      ? ARTIFACT_FILES[shape.kind].slice(0, 1).map((file) => join(dataset.path, file))
      : unknown
        ? []
        : settings.dataset;
  const length = trainingLength(settings);
  const tokens =
    'tokens' in length
      ? length.tokens
      : 'steps' in length
        ? length.steps * settings.gradient_accumulation_steps * maxRows
        : length.epochs * (await plannedFileTokens(files, baseDir));
  const plan = planTraining(
    addon,
    settings,
    session,
    tokens,
    context.matrixSpeed,
    settings.sync_ref_model ? { memory: 0, snapshots: movingReferenceBytes(addon, architecture) } : undefined,
  );
  const reference =
    shape.reference &&
    !settings.precompute_ref_log_probs &&
    (!settings.lora || settings.ref_model !== undefined)
      ? addon.planSession({ ...session, trainable: false, generationSlots: 0, generationLength: 0 }).total
      : 0;
  return {
    ...plan,
    memoryBytes: plan.memoryBytes + reference,
    seconds: unknown && 'epochs' in length ? null : plan.seconds,
    detail: { ...plan.detail, ...(shape.reference ? { reference_bytes: reference } : {}) },
  };
}
