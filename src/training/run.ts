/**
 * A training stage from settings to artifact, whatever its data: the session (memory and disk counted first), the
 * trainer, and the model folder, read back before it counts. `planTraining` tells the same sizes beforehand.
 */
import { copyFile, cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { EventBody } from '../../proto/events.ts';
import { importAdapterWeights } from '../models/adapter.ts';
import { complete } from '../models/complete.ts';
import type { Family } from '../models/families.ts';
import { importWeights, type ModelFolder, openModelFolder } from '../models/load.ts';
import { adapterParameters } from '../models/lora.ts';
import { PROBE_TOKENS, probeModel, readBack, saveAdapterModel, saveModel } from '../models/save.ts';
import type { Addon, Architecture, SessionOptions, SessionPlan } from '../native/addon.ts';
import type { Artifact, ServedModel, StageContext, StagePlan } from '../stages/stage.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import {
  exists,
  makeDir,
  readJson,
  renameDirAtomic,
  requireDiskSpace,
  writeFileAtomic,
} from '../util/files.ts';
import { sha256 } from '../util/hash.ts';
import { requireMemory } from '../util/memory.ts';
import { openTrainingModel, type TrainingModel, type TrainingRuntime, trainingAdapters } from './model.ts';
import { parameterGroups } from './optimizer.ts';
import { Records, ROWS_FILE } from './records.ts';
import { type TrainingSettings, warmupSteps } from './settings.ts';
import type { TrainerState } from './state.ts';
import { SAMPLES_FILE, Trainer } from './trainer.ts';
import { LOWEST_LOSS, type Work } from './work.ts';

export type { TrainingPass, TrainingRuntime } from './model.ts';

/** What a stage has made ready. */
export interface TrainingTask {
  model: { family: Family; architecture: Architecture; initializerRange: number };
  /** Weights to go on from; undefined: new ones from the recipe's seed. */
  base: ModelFolder | undefined;
  tokenizer: Tokenizer;
  /** Tokens that end a generation of the trained model. */
  stopIds: number[];
  /** Ids that a sample's prompt becomes. */
  samplePrompt(text: string): Int32Array;
  defaultWarmupRatio: number;
  /** The session has a scalar head for values, which is no part of the model. Absent: none. */
  valueHead?: boolean;
  /** What the work needs of the session beyond a supervised stage; absent: nothing. */
  room?: SessionRoom;
  /** Bytes of the sessions that the work opens beside the model's, and of their snapshots. Absent: none. */
  beside?: { memory: number; snapshots: number };
  /** Rows that the work draws from, told by origin in the artifact's rows.txt. */
  rows: number;
  /** The rows and the objective, once the model is open. */
  work(runtime: TrainingRuntime): Work | Promise<Work>;
  /** Called with the trained model, before it is saved. Absent: nothing. */
  finish?(runtime: TrainingRuntime): Promise<void>;
}

/** Sizes of a session that a work asks for itself, and adapters that it has behind those of training. */
export type SessionRoom = Partial<
  Pick<
    SessionOptions,
    | 'maxTokens'
    | 'maxSequences'
    | 'maxScored'
    | 'maxTargets'
    | 'keepLogits'
    | 'generationSlots'
    | 'generationLength'
    | 'generationRows'
    | 'adapters'
  >
>;

/** Share of the matrix speed that training is assumed to reach in estimates. */
const ASSUMED_SHARE = 0.5;

/** Of a stage that opens no session but the model's. */
const NOTHING = { memory: 0, snapshots: 0 };

/** Longest row in tokens; refuses one that is longer than the model's context. */
export function rowLength(settings: TrainingSettings, architecture: Architecture, stage: string): number {
  const length = settings.max_length ?? architecture.maxPositions;
  if (length <= architecture.maxPositions) return length;
  throw new AnnealError(
    'recipe_invalid',
    `stages.${stage}.max_length (${length}) is longer than the model's context (${architecture.maxPositions}).`,
    {
      path: `stages.${stage}.max_length`,
      hint: 'Lower it, or raise max_position_embeddings of a new model.',
    },
  );
}

/** Tokens of a microbatch that the engine takes at most. */
const MAX_TOKENS = 1 << 24;

/** The session of a training stage. `base`: the model to go on from, where it is known already. */
export function trainingSession(
  settings: TrainingSettings,
  architecture: Architecture,
  threads: number,
  maxLength: number,
  room: SessionRoom = {},
  base?: ModelFolder,
): SessionOptions {
  const maxTokens = Math.max(settings.per_device_train_batch_size * maxLength, PROBE_TOKENS);
  const { adapters: further = [], keepLogits = false, ...sizes } = room;
  const { trainable, adapters: own = [] } = trainingAdapters(settings.lora, architecture, base);
  const adapters = [...own, ...further];
  const rows = sizes.maxTokens ?? maxTokens;
  if (rows > MAX_TOKENS) {
    const path = 'per_device_train_batch_size';
    throw new AnnealError('recipe_invalid', `${path} makes microbatches of ${rows} tokens.`, {
      path,
      hint: `At most ${MAX_TOKENS} are possible: lower ${path} and raise gradient_accumulation_steps.`,
    });
  }
  return {
    architecture,
    threads,
    trainable,
    ...(adapters.length === 0 ? {} : { adapters }),
    optimizer: settings.optim,
    maxTokens,
    maxSequences: maxTokens,
    maxScored: maxTokens,
    recompute: settings.gradient_checkpointing,
    keepLogits: keepLogits && !settings.gradient_checkpointing,
    // Answers of the model in training: a few side by side, in the rows of one of the longest.
    generationSlots: 4,
    generationLength: architecture.maxPositions,
    ...(room.generationSlots === undefined ? { generationRows: architecture.maxPositions } : {}),
    ...sizes,
  };
}

/** Memory, disk and time of a training stage; `tokens`: what it reads in all; `beside`: as in `TrainingTask`. */
export function planTraining(
  addon: Addon,
  settings: TrainingSettings,
  session: SessionOptions,
  tokens: number,
  matrixSpeed: number,
  beside = NOTHING,
): StagePlan {
  const plan = addon.planSession(session);
  return {
    memoryBytes: plan.total + beside.memory,
    diskBytes: diskBytes(settings, plan.snapshot + beside.snapshots, savedBytes(settings, session, plan)),
    seconds: plannedSeconds(tokens * plan.trainFlopsPerToken, matrixSpeed),
    detail: {
      parameters: plan.parameters,
      trained_parameters: trainedParameters(settings, session, plan),
      tokens,
      weights_bytes: plan.weights,
      gradients_bytes: plan.gradients,
      optimizer_bytes: plan.optimizer,
      activations_bytes: plan.activations,
      workspace_bytes: plan.workspace,
      kv_cache_bytes: plan.kvCache,
      snapshot_bytes: plan.snapshot,
    },
  };
}

/** What arithmetic takes by the machine's matrix speed in FLOP/s; null where that is not known. */
export function plannedSeconds(flops: number, matrixSpeed: number): number | null {
  return matrixSpeed <= 0 ? null : flops / (matrixSpeed * ASSUMED_SHARE);
}

/** Checkpoints (one more than is kept while it is written), the model and the best one. */
function diskBytes(settings: TrainingSettings, snapshot: number, saved: number): number {
  return (settings.keep_last + 1) * snapshot + (settings.eval_steps === undefined ? 1 : 3) * saved;
}

/** Parameters that are trained: the adapter's, or all. */
function trainedParameters(settings: TrainingSettings, session: SessionOptions, plan: SessionPlan): number {
  return settings.lora ? adapterParameters(session.adapters![0]!, session.architecture) : plan.parameters;
}

/** Size of the saved model or adapter; one that began with `pissa` is saved with twice the rank. */
function savedBytes(settings: TrainingSettings, session: SessionOptions, plan: SessionPlan): number {
  if (!settings.lora) return plan.weights;
  const factor = settings.lora.init_lora_weights === 'pissa' ? 2 : 1;
  return factor * 4 * trainedParameters(settings, session, plan);
}

/** Trains and writes the artifact. */
export async function runTraining(
  context: StageContext<TrainingSettings>,
  task: TrainingTask,
): Promise<void> {
  const { settings, addon, threads, name } = context;
  const { architecture } = task.model;
  const maxLength = rowLength(settings, architecture, name);
  const trained = task.valueHead ? { ...architecture, scoreHead: true } : architecture;
  const options = trainingSession(settings, trained, threads, maxLength, task.room, task.base);
  const plan = addon.planSession(options);
  const beside = task.beside ?? NOTHING;
  requireMemory(plan.total + beside.memory, `Stage ${name}`);
  const disk = diskBytes(settings, plan.snapshot + beside.snapshots, savedBytes(settings, options, plan));
  await requireDiskSpace(context.workDir, disk, `Stage ${name}`);
  const { base, model: planned } = task;
  const model = await openTrainingModel(
    context,
    { base, initializerRange: planned.initializerRange },
    options,
  );
  const { runtime } = model;
  const { session, adapter } = runtime;
  let expected: Float32Array;
  try {
    await session.setParameterGroups(parameterGroups(settings, session.tensors(adapter), name), adapter);
    const work = await task.work(runtime);
    const state = await train(context, task, model, work, options.generationLength);
    await takeBest(context, model, state);
    await task.finish?.(runtime);
    expected = await probeModel(session, architecture, adapter);
    await save(model, context.outDir, task, 'final');
    await Records.copy(context.workDir, context.outDir);
    if (settings.sample_prompts.length > 0)
      await copyFile(join(context.workDir, SAMPLES_FILE), join(context.outDir, SAMPLES_FILE));
    const origins = Array.from({ length: task.rows }, (_, row) => `${work.origin(row)}\n`);
    await writeFileAtomic(join(context.outDir, ROWS_FILE), origins.join(''));
    context.record({
      parameters: plan.parameters,
      trained_parameters: trainedParameters(settings, options, plan),
      steps: state.step,
      trained_tokens: state.numTokens,
      tokenizer_hash: task.tokenizer.hash,
      ...(task.tokenizer.chatTemplate === undefined
        ? {}
        : { chat_template_hash: sha256(task.tokenizer.chatTemplate) }),
      ...(state.best === null
        ? {}
        : { best_step: state.best.step, [`best_${(work.bestBy ?? LOWEST_LOSS).metric}`]: state.best.value }),
    });
  } finally {
    await model.close();
  }
  // Only now: both sessions at once might not fit.
  await readBack(addon, context.outDir, threads, expected);
}

async function train(
  context: StageContext<TrainingSettings>,
  task: TrainingTask,
  model: TrainingModel,
  work: Work,
  generationLength: number,
): Promise<TrainerState> {
  const { settings } = context;
  const { session, adapter } = model.runtime;
  const { totalSteps } = work;
  const { tokenizer, stopIds } = task;
  const served: ServedModel = {
    session,
    ...(adapter === undefined ? {} : { adapter }),
    tokenizer,
    stopIds,
    generationLength,
  };
  if (settings.eval_steps !== undefined && !work.validate) {
    throw new AnnealError('data_empty', `Stage ${context.name} has no rows to validate on.`, {
      path: `stages.${context.name}.eval_steps`,
      hint: 'Give prepare a validation_fraction (or the stage an eval_dataset), or leave eval_steps out.',
    });
  }
  const best = join(context.workDir, 'best');
  const trainer = new Trainer({
    context,
    addon: context.addon,
    session,
    adapter,
    served,
    settings,
    schedule: {
      type: settings.lr_scheduler_type,
      peak: settings.learning_rate,
      minRatio: settings.min_lr_ratio,
      warmupSteps: warmupSteps(settings, totalSteps, task.defaultWarmupRatio),
      totalSteps,
      decayRatio: settings.decay_ratio,
    },
    work,
    sample: async (prompt) => {
      // One seed for all steps: what changes from sample to sample is the model.
      const sampling = {
        max_new_tokens: settings.sample_max_new_tokens,
        temperature: 0.7,
        top_k: 0,
        top_p: 1,
        min_p: 0,
        repetition_penalty: 1,
        stop: [],
        seed: context.seed,
      };
      const { signal } = new AbortController();
      return (await complete(served, task.samplePrompt(prompt), sampling, () => {}, signal)).text;
    },
    onBest: async () => {
      const partial = join(context.workDir, '.best.partial');
      await rm(partial, { recursive: true, force: true });
      await makeDir(partial);
      await save(model, partial, task, 'best');
      await renameDirAtomic(partial, best);
    },
  });
  return trainer.run();
}

/** Tells the samples before and after training of a finished artifact again. */
export async function retellTraining(
  artifact: Artifact,
  { name, emit }: Pick<StageContext<unknown>, 'name' | 'emit'>,
): Promise<void> {
  const file = join(artifact.path, SAMPLES_FILE);
  if (!(await exists(file))) return;
  emit('report', (await readJson(file, 'artifact_corrupt')) as EventBody<'report'>, `${name}/samples`);
}

/** Makes the best weights the result, or lays them beside it, as the recipe says. */
async function takeBest(
  context: StageContext<TrainingSettings>,
  { runtime: { session, adapter } }: TrainingModel,
  state: TrainerState,
): Promise<void> {
  const best = join(context.workDir, 'best');
  if (state.best === null || state.best.step === state.step || !(await exists(best))) return;
  if (!context.settings.load_best_model_at_end) {
    await cp(best, join(context.outDir, 'best'), { recursive: true });
    return;
  }
  const folder = await openModelFolder(best);
  if (adapter === undefined) await importWeights(session, folder);
  else await importAdapterWeights(session, adapter, folder.adapter!);
}

/**
 * Saves the model or the adapter. One that began with `pissa` is saved as a difference to its base in the end; the best
 * so far is kept as it is, to be loaded again.
 */
function save(model: TrainingModel, dir: string, task: TrainingTask, which: 'best' | 'final'): Promise<void> {
  const { tokenizer, stopIds, model: made } = task;
  const { runtime, trained } = model;
  if (!trained) return saveModel(runtime.session, dir, { ...made, tokenizer, stopIds });
  const pissa = trained.settings.init_lora_weights === 'pissa';
  return saveAdapterModel(runtime.session, runtime.adapter!, dir, {
    ...trained,
    architecture: made.architecture,
    initial: pissa && which === 'final' ? trained.start : undefined,
    tokenizer,
    stopIds,
  });
}
