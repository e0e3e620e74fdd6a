/**
 * Settings that the stages of reinforcement learning share, by TRL's names, and their checks. A stage spreads
 * `rolloutFields(...)` into its schema and calls `checkRollout` in its refinement.
 */
import { z } from 'zod';
import { dataFiles } from '../data/files.ts';
import { rowSettings } from '../data/shapes/settings.ts';
import type { KlController } from '../objectives/kl.ts';
import { type SyncSettings, syncFields } from '../preference/settings.ts';
import { rewardSettings } from '../rewards/index.ts';
import { MODEL_TYPES } from '../stages/model_types.ts';
import { trainingFields } from '../training/settings.ts';

const count = z.int().positive();
const fraction = z.number().min(0).max(1);

/** What names other stages, for `inputs` of a stage. */
export const rolloutInputs = {
  model: { types: MODEL_TYPES },
  dataset: { types: ['generate', 'rank'], orFiles: true },
  reward_model: { types: ['reward'], optional: true },
};

/** The shared fields; methods differ in a few defaults. */
export function rolloutFields(defaults: { learning_rate: number; temperature: number }) {
  return {
    model: z.string().describe('The policy to go on from: a stage, or a folder.'),
    dataset: dataFiles.describe(
      'Prompts: a `generate` or `rank` stage, or data files with `prompt` or `messages` and what rewards need.',
    ),
    eval_dataset: dataFiles
      .optional()
      .describe(
        'Data files of prompts that are not trained on: at eval_steps completions of them are rewarded.',
      ),
    ...rowSettings.shape,
    num_generations_eval: count
      .optional()
      .describe('Completions of a prompt of eval_dataset. Default: as many as in training.'),
    prompting: z
      .enum(['chat', 'raw'])
      .optional()
      .describe(
        'How a text prompt is asked. Default: raw after `pretrain` and without a chat template, else chat.',
      ),
    reward_model: z.string().optional().describe('A `reward` stage, or a folder of its kind.'),
    reward_model_weight: z.number().default(1).describe('Weight of its score in the sum.'),
    rewards: rewardSettings.optional().describe('Programs that reward, each with a weight.'),
    temperature: z.number().positive().default(defaults.temperature).describe('Of drawing and of training.'),
    top_p: fraction.gt(0).default(1).describe('Nucleus of drawing; 1: off.'),
    top_k: z.int().min(0).default(0).describe('Most likely tokens that are drawn from; 0: all.'),
    min_p: fraction.default(0).describe('Least share of the likeliest token; 0: off.'),
    repetition_penalty: z.number().positive().default(1).describe('Of drawing; 1: off.'),
    ...trainingFields({ learning_rate: defaults.learning_rate, adam_beta2: 0.999, weight_decay: 0 }),
    load_best_model_at_end: z
      .boolean()
      .default(false)
      .describe(
        'The result is the model of the highest eval_reward; else that one lies beside it, in `best`.',
      ),
  };
}

/** Fields of the methods that draw groups of completions (GRPO, RLOO). */
export function groupFields(defaults: { num_generations: number; max_completion_length: number }) {
  return {
    num_generations: count.default(defaults.num_generations).describe('Completions of a prompt: a group.'),
    max_completion_length: count.default(defaults.max_completion_length).describe('Tokens at most.'),
    generation_batch_size: count
      .optional()
      .describe('Completions of a rollout. Default: those of steps_per_generation microbatches.'),
    steps_per_generation: count
      .optional()
      .describe('Microbatches of a rollout. Default: gradient_accumulation_steps.'),
    num_iterations: count.default(1).describe('Passes through a rollout.'),
    mask_truncated_completions: z
      .boolean()
      .default(false)
      .describe('Completions that were cut take no part in the loss.'),
    dynamic_sampling: z
      .boolean()
      .default(false)
      .describe('Groups whose rewards are all the same are drawn anew, for other prompts.'),
    dynamic_sampling_max_draws: z
      .int()
      .min(2)
      .default(4)
      .describe('Groups drawn for a rollout at most, as a multiple of those in it.'),
    ...syncFields,
  };
}

type Fields = z.output<z.ZodObject<ReturnType<typeof rolloutFields>>>;
export type RolloutSettings = Fields & SyncSettings;
export type GroupSettings = z.output<z.ZodObject<ReturnType<typeof groupFields>>> & RolloutSettings;
type GroupFields = Pick<
  Fields & z.output<z.ZodObject<ReturnType<typeof groupFields>>>,
  | 'num_generations'
  | 'generation_batch_size'
  | 'steps_per_generation'
  | 'per_device_train_batch_size'
  | 'gradient_accumulation_steps'
>;

/** Completions of a rollout of groups. */
export function generationBatchSize(settings: GroupFields): number {
  return (
    settings.generation_batch_size ??
    (settings.steps_per_generation ?? settings.gradient_accumulation_steps) *
      settings.per_device_train_batch_size
  );
}

/** Contradictions between the fields of a group. */
export function checkGroups(settings: GroupFields, context: z.RefinementCtx, least: number): void {
  const issue = (path: string, message: string) =>
    context.addIssue({ code: 'custom', path: [path], message });
  if (settings.generation_batch_size !== undefined && settings.steps_per_generation !== undefined) {
    issue('steps_per_generation', 'contradicts generation_batch_size; give one of them');
  }
  if (settings.num_generations < least) {
    issue('num_generations', `is ${settings.num_generations}; a group has ${least} completions at least`);
  }
  const size = generationBatchSize(settings);
  if (size % settings.num_generations !== 0) {
    issue(
      settings.generation_batch_size === undefined ? 'num_generations' : 'generation_batch_size',
      `a rollout of ${size} completions is not made of whole groups of ${settings.num_generations}`,
    );
  }
}

/** Fields of the methods whose rewards pay for the divergence from the reference: what its weight is adapted to. */
export const klControlFields = {
  kl_target: z
    .number()
    .positive()
    .optional()
    .describe(
      'Divergence of a completion in nats that its weight is adapted to hold. Default: the weight stays.',
    ),
  kl_horizon: z.number().positive().default(10_000).describe('Completions over which it is adapted.'),
};

/** The controller of those settings. */
export function klController(settings: {
  kl_target?: number | undefined;
  kl_horizon: number;
}): KlController | undefined {
  const { kl_target, kl_horizon } = settings;
  return kl_target === undefined ? undefined : { target: kl_target, horizon: kl_horizon };
}

/** Contradictions between the shared fields. */
export function checkRollout(
  settings: Pick<
    Fields,
    'rewards' | 'reward_model' | 'max_tokens' | 'eval_steps' | 'eval_dataset' | 'num_generations_eval'
  >,
  context: z.RefinementCtx,
): void {
  const issue = (path: string, message: string) =>
    context.addIssue({ code: 'custom', path: [path], message });
  if (settings.rewards === undefined && settings.reward_model === undefined) {
    issue('rewards', 'or a reward_model is needed: what is to be learnt?');
  }
  if (settings.max_tokens !== undefined) {
    issue('max_tokens', 'cannot be foreseen here; give max_steps or num_train_epochs');
  }
  if (settings.eval_steps !== undefined && settings.eval_dataset === undefined) {
    issue('eval_steps', 'needs eval_dataset: prompts that are not trained on');
  }
  for (const path of ['eval_dataset', 'num_generations_eval'] as const) {
    if (settings.eval_steps === undefined && settings[path] !== undefined)
      issue(path, 'is for the validation at eval_steps, which is not given');
  }
}
