/**
 * A preference stage from settings to artifact, whatever its objective: rows read and audited, reference numbers
 * arranged, the training loop run over a `PreferenceWork`. A stage's own file has its settings and its objective.
 */
import { join } from 'node:path';
import type { AnswerGroup } from '../data/preference.ts';
import { DataRandom } from '../data/random.ts';
import { userPrompt } from '../models/complete.ts';
import { rewardArchitecture } from '../models/families.ts';
import { openLanguageModel, openModelFolder } from '../models/load.ts';
import { PROBE_TOKENS } from '../models/save.ts';
import type { Architecture } from '../native/addon.ts';
import type { StageContext } from '../stages/stage.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { rowLength, runTraining, type TrainingRuntime } from '../training/run.ts';
import { trainingLength } from '../training/settings.ts';
import { CarriedSums } from './carried.ts';
import { type DatasetRules, readTrainingRows, readValidationRows } from './dataset.ts';
import { movingReferenceBytes } from './moving_reference.ts';
import type { PreferenceObjective } from './objective.ts';
import { ReferenceModel } from './reference_model.ts';
import type { PreferenceSettings } from './settings.ts';
import { microbatchRows, PreferenceWork, packOptions } from './work.ts';

/** Share of the steps in which the learning rate rises. */
const DEFAULT_WARMUP_RATIO = 0.03;

/** What an objective is made from. */
export interface StageRows {
  train: AnswerGroup[];
  validation: AnswerGroup[];
  maxLength: number;
  tokenizer: Tokenizer;
  /** Of the model that is trained. */
  architecture: Architecture;
}

export interface PreferenceTask extends Pick<DatasetRules, 'kind' | 'scored'> {
  objective(rows: StageRows): PreferenceObjective | Promise<PreferenceObjective>;
  /** Further groups whose reference numbers the objective needs. Absent: none. */
  also?(rows: StageRows): AnswerGroup[];
  /** The model has a scalar head. Absent: no. */
  scoreHead?: boolean;
  /** Share of the prompts that is held out where there is no eval_dataset. Absent: none. */
  heldOut?: number;
  /** Called with the trained model, before it is saved. Absent: nothing. */
  finish?(runtime: TrainingRuntime, rows: StageRows, maxRows: number): Promise<void>;
}

/** Trains and writes the artifact. */
export async function runPreference(
  context: StageContext<PreferenceSettings>,
  task: PreferenceTask,
): Promise<void> {
  const { settings, name, inputs, threads, seed } = context;
  // A reward model may go on from another.
  const folder = await (task.scoreHead ? openModelFolder : openLanguageModel)(inputs.model!.path);
  const tokenizer = await loadTokenizer(inputs.model!.path, { threads });
  const architecture = task.scoreHead ? rewardArchitecture(folder.architecture) : folder.architecture;
  const base = { ...folder, architecture };
  const maxLength = rowLength(settings, architecture, name);
  const rules: DatasetRules = { kind: task.kind, scored: task.scored, maxLength, tooLong: settings.too_long };
  const { groups, closingIds } = await readTrainingRows(
    context,
    settings.dataset,
    inputs.dataset,
    tokenizer,
    rules,
  );
  const { train, validation } =
    settings.eval_dataset === undefined
      ? holdOut(groups, task.heldOut ?? 0, seed)
      : {
          train: groups,
          validation: await readValidationRows(context, settings.eval_dataset, tokenizer, rules),
        };
  const rows: StageRows = { train, validation, maxLength, tokenizer, architecture };
  const objective = await task.objective(rows);
  const pack = packOptions(objective);
  const all = [...train, ...validation, ...(task.also?.(rows) ?? [])];
  const batchSize = settings.per_device_train_batch_size;
  const maxRows = Math.max(PROBE_TOKENS, microbatchRows(all, pack, batchSize));
  const reference = objective.reference
    ? await ReferenceModel.open(context, tokenizer, pack, all)
    : undefined;
  try {
    await runTraining(context, {
      model: base,
      base,
      tokenizer,
      stopIds: [...closingIds],
      samplePrompt: (text) => userPrompt(tokenizer, text, settings.chat_template_kwargs),
      defaultWarmupRatio: DEFAULT_WARMUP_RATIO,
      room: {
        maxTokens: maxRows,
        maxSequences: maxRows,
        maxScored: maxRows,
        keepLogits: true,
        ...(objective.targets === undefined ? {} : { maxTargets: maxRows * objective.targets }),
      },
      ...(settings.sync_ref_model
        ? { beside: { memory: 0, snapshots: movingReferenceBytes(context.addon, architecture) } }
        : {}),
      rows: train.length,
      ...(task.finish ? { finish: (runtime) => task.finish!(runtime, rows, maxRows) } : {}),
      work: async (runtime) => {
        const numbers = await reference?.logProbs(runtime, maxRows);
        return new PreferenceWork({
          session: runtime.session,
          passFields: (pass) => runtime.passFields(pass),
          objective,
          groups: train,
          validation: settings.eval_steps !== undefined && validation.length > 0 ? validation : undefined,
          reference: numbers?.reference,
          ...(numbers?.moving ? { moving: numbers.moving } : {}),
          carried: new CarriedSums(join(context.workDir, `carried-${context.hash}.jsonl`)),
          batchSize,
          accumulation: settings.gradient_accumulation_steps,
          packing: settings.packing,
          seed,
          maxRows,
          length: trainingLength(settings),
        });
      },
    });
  } finally {
    await reference?.close();
  }
}

/** Groups of some of the prompts apart from the others; a prompt is on one side with all of its rows. */
export function holdOut(
  groups: readonly AnswerGroup[],
  share: number,
  seed: number,
): { train: AnswerGroup[]; validation: AnswerGroup[] } {
  const prompts = [...new Set(groups.map(({ prompt }) => prompt.join()))];
  const order = Uint32Array.from(prompts.keys());
  new DataRandom('held out', seed).shuffle(order);
  const count = prompts.length < 2 ? 0 : Math.min(prompts.length - 1, Math.ceil(share * prompts.length));
  const held = new Set(Array.from(order.subarray(0, count), (i) => prompts[i]!));
  return {
    train: groups.filter(({ prompt }) => !held.has(prompt.join())),
    validation: groups.filter(({ prompt }) => held.has(prompt.join())),
  };
}
