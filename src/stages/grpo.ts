/**
 * `grpo`: group relative policy optimisation (Shao et al. 2024) and its relatives: Dr. GRPO, DAPO and BNPO by
 * `loss_type`, GSPO by `importance_sampling_level`. Keys and defaults are TRL's.
 */
import { resolve } from 'node:path';
import { z } from 'zod';
import { rewardScales } from '../objectives/advantages.ts';
import { loadPolicyLoss } from '../objectives/custom_policy.ts';
import { type GrpoLossType, grpoLossTypes, importanceLevels } from '../objectives/grpo.ts';
import { checkSync } from '../preference/settings.ts';
import type { Algorithm } from '../rollout/algorithm.ts';
import { grpo, grpoWith } from '../rollout/group_relative.ts';
import { checkGroups, checkRollout, groupFields, rolloutFields } from '../rollout/settings.ts';
import { groupMethod, rolloutStage } from '../rollout/stage.ts';
import { checkTraining } from '../training/settings.ts';

const schema = z
  .strictObject({
    ...rolloutFields({ learning_rate: 1e-6, temperature: 1 }),
    ...groupFields({ num_generations: 8, max_completion_length: 256 }),
    loss_type: z
      .union([z.enum(grpoLossTypes), z.string().regex(/\.m?js$/)])
      .default('dapo')
      .describe('What the loss of tokens is divided by; or an .mjs file with a loss.'),
    importance_sampling_level: z
      .enum(importanceLevels)
      .default('token')
      .describe('A ratio for each token, or one for each completion (GSPO).'),
    scale_rewards: z
      .enum(rewardScales)
      .default('group')
      .describe("What advantages are divided by: the group's deviation, the batch's, or nothing."),
    beta: z.number().min(0).default(0).describe('Weight of the divergence from the reference in the loss.'),
    epsilon: z.number().positive().default(0.2).describe('Clipping of the ratio below, and above.'),
    epsilon_high: z.number().positive().optional().describe('Clipping above, where it differs.'),
    delta: z.number().gt(1).optional().describe('Highest ratio of bad completions too (two-sided clipping).'),
    entropy_coef: z.number().min(0).default(0).describe('Weight of the mean entropy as a bonus.'),
  })
  .superRefine((settings, context) => {
    checkTraining(settings, context);
    checkRollout(settings, context);
    checkGroups(settings, context, 2);
    checkSync(settings, context);
    if (settings.delta !== undefined && settings.delta <= 1 + (settings.epsilon_high ?? settings.epsilon)) {
      context.addIssue({ code: 'custom', path: ['delta'], message: 'is not above 1 + epsilon' });
    }
  });

type Settings = z.output<typeof schema>;

export const grpoStage = rolloutStage({
  type: 'grpo',
  doc: 'Reinforcement learning from groups of completions: GRPO, Dr. GRPO, DAPO, GSPO.',
  schema,
  files: ({ loss_type }, baseDir) => (isLossType(loss_type) ? [] : [resolve(baseDir, loss_type)]),
  method: async (settings, { baseDir, name }) =>
    groupMethod(settings, {
      algorithm: (await algorithmOf(settings, baseDir, name)) as Algorithm,
      klCoefficient: settings.beta,
      klController: undefined,
      needsReference: settings.beta > 0,
    }),
});

function isLossType(type: string): type is GrpoLossType {
  return (grpoLossTypes as readonly string[]).includes(type);
}

async function algorithmOf(settings: Settings, baseDir: string, stage: string) {
  const { loss_type, beta, epsilon } = settings;
  const epsilonHigh = settings.epsilon_high ?? epsilon;
  const advantages = {
    scaleRewards: settings.scale_rewards,
    maskTruncated: settings.mask_truncated_completions,
  };
  if (!isLossType(loss_type)) {
    const loss = await loadPolicyLoss(resolve(baseDir, loss_type), `stages.${stage}.loss_type`);
    return grpoWith(advantages, (scores, batch, step) =>
      loss(scores, batch, { epsilon, epsilonHigh, beta }, step.tokens),
    );
  }
  return grpo({
    ...advantages,
    lossType: loss_type,
    level: settings.importance_sampling_level,
    clip: { low: epsilon, high: epsilonHigh, delta: settings.delta },
    beta,
    entropyCoef: settings.entropy_coef,
  });
}
