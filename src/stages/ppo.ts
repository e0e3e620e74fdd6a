/**
 * `ppo`: proximal policy optimisation (Schulman et al. 2017) from a reward model, programs, or a mix of them, with a
 * value head on the policy's trunk or a critic of its own, and a reference that the policy pays for leaving. Keys and
 * defaults are TRL's.
 */
import { z } from 'zod';
import { klEstimators } from '../objectives/kl.ts';
import type { Algorithm } from '../rollout/algorithm.ts';
import { ppo } from '../rollout/ppo.ts';
import { checkRollout, klControlFields, klController, rolloutFields } from '../rollout/settings.ts';
import { rolloutStage } from '../rollout/stage.ts';
import { checkTraining } from '../training/settings.ts';
import { MODEL_TYPES } from './model_types.ts';

const count = z.int().positive();

const schema = z
  .strictObject({
    ...rolloutFields({ learning_rate: 3e-6, temperature: 0.7 }),
    response_length: count.default(53).describe('Tokens of a completion at most.'),
    num_generations: count.default(1).describe('Completions of a prompt.'),
    num_mini_batches: count.default(1).describe('Optimiser steps of one pass through a rollout.'),
    num_ppo_epochs: count.default(4).describe('Passes through a rollout.'),
    total_episodes: count.optional().describe('Completions drawn in all, instead of steps or epochs.'),
    missing_eos_penalty: z.number().min(0).default(0).describe('Taken from the score of a cut completion.'),
    kl_coef: z.number().min(0).default(0.05).describe('Weight of the divergence from the reference.'),
    kl_estimator: z.enum(klEstimators).default('k1').describe('How a token estimates the divergence.'),
    ...klControlFields,
    critic: z
      .enum(['shared', 'separate'])
      .default('shared')
      .describe("Where values come from: a head on the policy's trunk, or a model with weights of its own."),
    critic_model: z
      .string()
      .optional()
      .describe(
        'What a separate critic begins as: a stage, or a folder. Default: the reward model, without one the policy.',
      ),
    critic_learning_rate: z
      .number()
      .positive()
      .optional()
      .describe('The highest of a separate critic. Default: learning_rate.'),
    cliprange: z.number().positive().default(0.2).describe("Clipping of the policy's ratio."),
    cliprange_value: z.number().positive().default(0.2).describe('Clipping of values.'),
    vf_coef: z.number().min(0).default(0.1).describe("Weight of the values' loss."),
    entropy_coef: z.number().min(0).default(0).describe('Weight of the mean entropy as a bonus.'),
    gamma: z.number().min(0).max(1).default(1).describe('Discount of what is to come.'),
    lam: z.number().min(0).max(1).default(0.95).describe('Decay of generalised advantage estimates.'),
    whiten_rewards: z.boolean().default(false).describe('Rewards of tokens to deviation 1.'),
    whiten_advantages: z.boolean().default(true).describe('Advantages to mean 0 and deviation 1.'),
  })
  .superRefine((settings, context) => {
    checkTraining(settings, context);
    checkRollout(settings, context);
    if (settings.kl_target !== undefined && settings.kl_coef === 0) {
      context.addIssue({
        code: 'custom',
        path: ['kl_target'],
        message: 'needs a kl_coef above 0 to begin with',
      });
    }
    for (const path of ['critic_model', 'critic_learning_rate'] as const) {
      if (settings.critic === 'shared' && settings[path] !== undefined)
        context.addIssue({ code: 'custom', path: [path], message: 'is for critic: separate' });
    }
    const size = rolloutSize(settings);
    if (size % settings.num_generations !== 0) {
      context.addIssue({
        code: 'custom',
        path: ['num_generations'],
        message: `a rollout of ${size} completions is not made of whole groups of ${settings.num_generations}`,
      });
    }
    if (
      settings.total_episodes !== undefined &&
      (settings.max_steps !== undefined || settings.num_train_epochs !== undefined)
    ) {
      context.addIssue({
        code: 'custom',
        path: ['total_episodes'],
        message: 'contradicts max_steps and num_train_epochs; give one of them',
      });
    }
  });

/** Completions of a rollout. */
function rolloutSize(settings: {
  per_device_train_batch_size: number;
  gradient_accumulation_steps: number;
  num_mini_batches: number;
}): number {
  return (
    settings.per_device_train_batch_size * settings.gradient_accumulation_steps * settings.num_mini_batches
  );
}

export const ppoStage = rolloutStage({
  type: 'ppo',
  doc: 'Reinforcement learning by proximal policy optimisation, from a reward model or programs.',
  schema,
  inputs: { critic_model: { types: [...MODEL_TYPES, 'reward'], optional: true } },
  method: (settings) => ({
    algorithm: ppo({
      critic: settings.critic,
      cliprange: settings.cliprange,
      cliprangeValue: settings.cliprange_value,
      vfCoef: settings.vf_coef,
      entropyCoef: settings.entropy_coef,
      klEstimator: settings.kl_estimator,
      gamma: settings.gamma,
      lam: settings.lam,
      whitenRewards: settings.whiten_rewards,
      whitenAdvantages: settings.whiten_advantages,
    }) as Algorithm,
    groups: rolloutSize(settings) / settings.num_generations,
    groupSize: settings.num_generations,
    passes: settings.num_ppo_epochs,
    batchSize: settings.per_device_train_batch_size,
    maxCompletionLength: settings.response_length,
    klCoefficient: settings.kl_coef,
    klController: klController(settings),
    needsReference: true,
    missingEosPenalty: settings.missing_eos_penalty,
    maxDraws: undefined,
    values: settings.critic,
    rollouts:
      settings.total_episodes === undefined
        ? undefined
        : Math.ceil(settings.total_episodes / rolloutSize(settings)),
  }),
});
