/**
 * What the stages of reinforcement learning share: from a method's settings to the trained model. A stage gives its
 * schema and what its method asks for.
 */
import type { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { userPrompt } from '../models/complete.ts';
import { openModelFolder } from '../models/load.ts';
import { readStopIds } from '../models/save.ts';
import { openScorers, rewardFiles } from '../rewards/index.ts';
import { openRewardModel } from '../rewards/open_model.ts';
import { defineStage, type StageContext, type StageDefinition } from '../stages/stage.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { plannedArchitecture } from '../training/planned.ts';
import { planTraining, rowLength, runTraining, type SessionRoom, trainingSession } from '../training/run.ts';
import { type Method, promptFiles, rolloutWork, stagePrompts, stepsOfRollout } from './open.ts';
import type { WeightedScorer } from './rewards.ts';
import { type GroupSettings, generationBatchSize, type RolloutSettings, rolloutInputs } from './settings.ts';

/** Completions drawn side by side at most. */
const MAX_SLOTS = 64;

/** What a stage of reinforcement learning tells of itself. */
export interface RolloutStage<Schema extends z.ZodType<RolloutSettings>> {
  type: string;
  doc: string;
  schema: Schema;
  method(settings: z.output<Schema>, context: { baseDir: string; name: string }): Promise<Method> | Method;
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
    valueHead: false,
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
    inputs: rolloutInputs,

    async files(settings, baseDir) {
      return [
        ...(await promptFiles(undefined, settings.dataset, baseDir)),
        ...(settings.rewards ? await rewardFiles(settings.rewards, baseDir) : []),
        ...(stage.files?.(settings, baseDir) ?? []),
      ];
    },

    async plan(context) {
      const { settings, addon, threads, inputs, name, baseDir } = context;
      const method = await stage.method(settings, { baseDir, name });
      const architecture = await plannedArchitecture(inputs.model!);
      const maxLength = rowLength(settings, architecture, name);
      const session = trainingSession(
        settings,
        method.valueHead ? { ...architecture, scoreHead: true } : architecture,
        threads,
        maxLength,
        sessionRoom(method, maxLength),
      );
      // As many rollouts as the recipe says, each read once to draw and to measure, and once a pass.
      const rollouts =
        method.rollouts ?? Math.ceil((settings.max_steps ?? 0) / stepsOfRollout(method, settings));
      const perRollout = method.groups * method.groupSize * method.maxCompletionLength;
      const tokens = rollouts * perRollout * (method.passes + 1);
      const plan = planTraining(addon, settings, session, tokens, context.matrixSpeed);
      // With an adapter the reference is its frozen base.
      const copy = method.needsReference && !settings.lora;
      const reference = copy
        ? addon.planSession({ ...session, trainable: false, generationSlots: 0, generationLength: 0 }).total
        : 0;
      return {
        ...plan,
        memoryBytes: plan.memoryBytes + reference,
        seconds: rollouts > 0 ? plan.seconds : null,
        detail: { ...plan.detail, reference_bytes: reference },
      };
    },

    async run(context) {
      const method = await stage.method(context.settings, context);
      await runRollouts(context, method);
    },
  });
}

/** The session of a stage: room for its microbatches, and for the completions that are drawn. */
function sessionRoom(
  method: Method,
  maxLength: number,
): Required<Omit<SessionRoom, 'generationLength' | 'maxTargets'>> {
  const tokens = Math.max(method.batchSize * maxLength, 64);
  return {
    maxTokens: tokens,
    maxSequences: Math.min(tokens, 2 * method.batchSize),
    maxScored: tokens,
    generationSlots: Math.min(MAX_SLOTS, method.groups * method.groupSize),
  };
}

async function runRollouts(context: StageContext<RolloutSettings>, method: Method): Promise<void> {
  const { settings, name, threads, inputs } = context;
  const { path } = inputs.model!;
  const base = await openModelFolder(path);
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
  const closing: (() => Promise<void>)[] = [];
  try {
    const scorers = await openRewards(context, tokenizer, maxLength, closing);
    const room = sessionRoom(method, maxLength);
    await runTraining(context, {
      model: base,
      base,
      tokenizer,
      room,
      valueHead: method.valueHead,
      // Samples are numbered through all rollouts: the ledger and the rollouts say which they are.
      rows: 0,
      stopIds,
      samplePrompt: (text) => userPrompt(tokenizer, text),
      defaultWarmupRatio: 0,
      async work({ session, passFields, reference }) {
        const runtime = {
          session,
          // Without dropout: the policy that is trained is the very one that drew.
          policyFields: passFields(undefined),
          reference: method.needsReference ? await reference() : undefined,
          tokenizer,
          stopIds,
        };
        return rolloutWork(context, method, runtime, prompts, scorers, room.generationSlots);
      },
    });
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** Programs and the reward model, with their weights. */
async function openRewards(
  context: StageContext<RolloutSettings>,
  tokenizer: Tokenizer,
  maxLength: number,
  closing: (() => Promise<void>)[],
): Promise<WeightedScorer[]> {
  const { settings, baseDir, addon, threads, inputs } = context;
  const rewards = settings.rewards ?? [];
  const scorers = await (rewards.length === 0 ? [] : openScorers(rewards, baseDir));
  closing.push(async () => {
    await Promise.all(scorers.map((scorer) => scorer.close()));
  });
  const weighted = scorers.map((scorer, i) => ({ scorer, weight: rewards[i]!.weight }));
  if (!inputs.reward_model) return weighted;
  const scorer = await openRewardModel(addon, inputs.reward_model.path, {
    threads,
    maxLength,
    tokenizerHash: tokenizer.hash,
  });
  closing.push(() => scorer.close());
  if (!scorer.sameTokenizer) {
    context.emit('notice', {
      stage: context.name,
      level: 'warning',
      text: 'The reward model has another tokenizer: completions are given to it as text, encoded anew.',
    });
  }
  return [...weighted, { scorer, weight: settings.reward_model_weight }];
}
