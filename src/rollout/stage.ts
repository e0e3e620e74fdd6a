/**
 * What the stages of reinforcement learning share: from a method's settings to the trained model. A stage gives its
 * schema and what its method asks for.
 */
import type { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { rowFiles } from '../data/shapes/read.ts';
import { importAdapter } from '../models/adapter.ts';
import { userPrompt } from '../models/complete.ts';
import { openLanguageModel } from '../models/load.ts';
import { readStopIds } from '../models/save.ts';
import type { Session } from '../native/addon.ts';
import { openMovingReference } from '../preference/reference_model.ts';
import { openScorers, rewardFiles } from '../rewards/index.ts';
import { modelScorer } from '../rewards/model.ts';
import { openRewardModel, rewardTokenizer } from '../rewards/open_model.ts';
import { defineStage, type StageContext, type StageDefinition } from '../stages/stage.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { requireRoom } from '../training/planned.ts';
import {
  plannedSeconds,
  planTraining,
  rowLength,
  runTraining,
  type TrainingRuntime,
} from '../training/run.ts';
import { type Critic, openCritic } from './critic.ts';
import { arrangeModels, besideBytes, knownModel, type Models, type Place } from './models.ts';
import {
  heldOutPrompts,
  type Method,
  type RolloutRuntime,
  rolloutWork,
  stagePrompts,
  stepsOfRollout,
} from './open.ts';
import type { WeightedScorer } from './rewards.ts';
import { type GroupSettings, generationBatchSize, type RolloutSettings, rolloutInputs } from './settings.ts';

/** What the settings of the stages call the longest completion. */
const COMPLETION_LENGTHS = ['max_completion_length', 'response_length', 'max_new_tokens'];

/** What a stage of reinforcement learning tells of itself. */
export interface RolloutStage<Schema extends z.ZodType<RolloutSettings>> {
  type: string;
  doc: string;
  schema: Schema;
  method(settings: z.output<Schema>, context: { baseDir: string; name: string }): Promise<Method> | Method;
  /** Inputs that its own settings name. */
  inputs?: StageDefinition<Schema>['inputs'];
  /** Files that its own settings name. */
  files?(settings: z.output<Schema>, baseDir: string): string[];
}

/** The method of stages that draw groups, but for its algorithm and its divergence. */
export function groupMethod(
  settings: GroupSettings,
  own: Pick<Method, 'algorithm' | 'klCoefficient' | 'klController' | 'needsReference'>,
): Method {
  return {
    ...own,
    groups: generationBatchSize(settings) / settings.num_generations,
    groupSize: settings.num_generations,
    passes: settings.num_iterations,
    batchSize: settings.per_device_train_batch_size,
    maxCompletionLength: settings.max_completion_length,
    missingEosPenalty: 0,
    maxDraws: settings.dynamic_sampling ? settings.dynamic_sampling_max_draws : undefined,
    values: 'none',
    rollouts: undefined,
  };
}

/** A stage over a method. */
export function rolloutStage<Schema extends z.ZodType<RolloutSettings>>(
  stage: RolloutStage<Schema>,
): StageDefinition<Schema> {
  return defineStage<Schema>({
    type: stage.type,
    doc: stage.doc,
    schema: stage.schema,
    serves: true,
    trains: true,
    inputs: { ...rolloutInputs, ...stage.inputs },

    async files(settings, baseDir) {
      return [
        ...(await rowFiles(settings, baseDir)),
        ...(settings.rewards ? await rewardFiles(settings.rewards, baseDir) : []),
        ...(stage.files?.(settings, baseDir) ?? []),
      ];
    },

    async plan(context) {
      const { settings, inputs, name, baseDir } = context;
      const method = await stage.method(settings, { baseDir, name });
      const policy = await knownModel(inputs.model!);
      const maxLength = rowLength(settings, policy.architecture, name);
      const key = COMPLETION_LENGTHS.find((each) => Object.hasOwn(settings, each))!;
      requireRoom(key, method.maxCompletionLength, maxLength);
      const models = await arrangeModels(context, method, policy, maxLength);
      const rollouts =
        method.rollouts ?? Math.ceil((settings.max_steps ?? 0) / stepsOfRollout(method, settings));
      const drawn = rollouts * method.groups * method.groupSize * method.maxCompletionLength;
      const tokens = drawn * method.passes;
      const { session, bytes } = models;
      const plan = planTraining(
        context.addon,
        settings,
        session,
        tokens,
        context.matrixSpeed,
        besideBytes(models),
      );
      return {
        ...plan,
        seconds:
          plan.seconds === null || rollouts === 0
            ? null
            : plan.seconds + plannedSeconds(drawn * models.flopsPerToken, context.matrixSpeed)!,
        detail: {
          ...plan.detail,
          reference_bytes: bytes.reference,
          ...(models.reward ? { reward_model_bytes: bytes.rewardModel } : {}),
          ...(models.critic ? { critic_bytes: bytes.critic } : {}),
        },
      };
    },

    async run(context) {
      const method = await stage.method(context.settings, context);
      await runRollouts(context, method);
    },
  });
}

type Closing = (() => Promise<void>)[];

/** What the models beside the policy are opened with. */
interface Opened {
  session: Session;
  tokenizer: Tokenizer;
  maxLength: number;
  closing: Closing;
}

async function runRollouts(context: StageContext<RolloutSettings>, method: Method): Promise<void> {
  const { settings, name, threads, inputs } = context;
  const { path } = inputs.model!;
  await openLanguageModel(inputs.model!.path);
  const policy = await knownModel(inputs.model!);
  const base = policy.folder!;
  const tokenizer = await loadTokenizer(path, { threads });
  const stopIds = await readStopIds(path, tokenizer);
  if (stopIds.length === 0) {
    throw new AnnealError('audit_refused', `Stage ${name}: no token ends a completion of ${path}.`, {
      path: `stages.${name}.model`,
      hint: 'Give the model an eos_token in tokenizer_config.json, or eos_token_id in generation_config.json.',
    });
  }
  const maxLength = rowLength(settings, base.architecture, name);
  const prompts = await stagePrompts(context, tokenizer, maxLength, method.maxCompletionLength);
  const heldOut = await heldOutPrompts(context, method, tokenizer, maxLength);
  const closing: Closing = [];
  try {
    const programs = await openPrograms(context, closing);
    const models = await arrangeModels(context, method, policy, maxLength);
    const { room } = models;
    await runTraining(context, {
      model: base,
      base,
      tokenizer,
      room,
      valueHead: method.values === 'shared',
      beside: besideBytes(models),
      // Samples are numbered through all rollouts: the ledger and the rollouts say which they are.
      rows: 0,
      stopIds,
      samplePrompt: (text) => userPrompt(tokenizer, text, settings.chat_template_kwargs),
      defaultWarmupRatio: 0,
      async work(runtime) {
        const { session } = runtime;
        const opened = { session, tokenizer, maxLength, closing };
        const scorers = models.reward
          ? [...programs, await openReward(context, models, models.reward, opened)]
          : programs;
        const open = {
          session,
          // Without dropout: the policy that is trained is the very one that drew.
          policyFields: runtime.passFields(undefined),
          ...(method.needsReference ? await openReference(context, runtime, models, closing) : {}),
          critic: models.critic && (await openOwnCritic(context, models.critic, opened)),
          tokenizer,
          stopIds,
        };
        return rolloutWork(context, method, open, { prompts, heldOut }, scorers, room.generationSlots);
      },
    });
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** Programs that reward, with their weights. */
async function openPrograms(
  { settings, baseDir }: StageContext<RolloutSettings>,
  closing: Closing,
): Promise<WeightedScorer[]> {
  const rewards = settings.rewards ?? [];
  const scorers = await (rewards.length === 0 ? [] : openScorers(rewards, baseDir));
  closing.push(async () => {
    await Promise.all(scorers.map((scorer) => scorer.close()));
  });
  return scorers.map((scorer, i) => ({ scorer, weight: rewards[i]!.weight }));
}

/** The policy as it was before training, and what moves it after the policy where it moves. */
async function openReference(
  context: StageContext<RolloutSettings>,
  runtime: TrainingRuntime,
  { room }: Models,
  closing: Closing,
): Promise<Pick<RolloutRuntime, 'reference' | 'moving'>> {
  if (!context.settings.sync_ref_model) return { reference: await runtime.reference() };
  const { path } = context.inputs.model!;
  const { session, moving } = await openMovingReference(context, runtime.session, path, room.maxTokens);
  closing.push(() => session.close());
  return { reference: session, moving };
}

/** The reward model with its weight, as an adapter of the policy's session or in its own. */
async function openReward(
  context: StageContext<RolloutSettings>,
  { room }: Models,
  place: Place,
  { session, tokenizer, maxLength, closing }: Opened,
): Promise<WeightedScorer> {
  const weight = context.settings.reward_model_weight;
  if (place.session) {
    const scorer = await openRewardModel(context, { maxLength, tokenizerHash: tokenizer.hash });
    closing.push(() => scorer.close());
    return { scorer, weight };
  }
  const folder = place.model.folder!;
  await importAdapter(session, place.adapter, folder.adapter!);
  const own = await rewardTokenizer(context, folder, tokenizer.hash);
  const { adapter } = place;
  const model = { session, adapter, tokenizer: own, maxRows: room.maxTokens, maxLength };
  return { scorer: modelScorer(model, tokenizer.hash), weight };
}

async function openOwnCritic(
  context: StageContext<RolloutSettings>,
  place: Place,
  { session, tokenizer, closing }: Opened,
): Promise<Critic> {
  const critic = await openCritic(context, place, session, tokenizer);
  if (critic.session !== session) closing.push(() => critic.session.close());
  return critic;
}
