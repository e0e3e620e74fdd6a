/**
 * `rloo`: REINFORCE leave one out (Ahmadian et al. 2024), with keys and defaults of TRL; or REINFORCE++ (Hu et al.
 * 2025) by `advantage_estimator`.
 */
import { z } from 'zod';
import { checkSync } from '../preference/settings.ts';
import type { Algorithm } from '../rollout/algorithm.ts';
import { reinforcePlusPlus, rloo } from '../rollout/group_relative.ts';
import {
  checkGroups,
  checkRollout,
  groupFields,
  klControlFields,
  klController,
  rolloutFields,
} from '../rollout/settings.ts';
import { groupMethod, rolloutStage } from '../rollout/stage.ts';
import { checkTraining } from '../training/settings.ts';

const schema = z
  .strictObject({
    ...rolloutFields({ learning_rate: 1e-6, temperature: 1 }),
    ...groupFields({ num_generations: 2, max_completion_length: 256 }),
    advantage_estimator: z
      .enum(['rloo', 'reinforce_plus_plus'])
      .default('rloo')
      .describe(
        "Against the mean of the group's others, or each token's return normalised over the rollout.",
      ),
    beta: z
      .number()
      .min(0)
      .default(0.05)
      .describe('Weight of the divergence from the reference in the reward.'),
    ...klControlFields,
    epsilon: z.number().positive().default(0.2).describe('Clipping of the ratio below, and above.'),
    epsilon_high: z.number().positive().optional().describe('Clipping above, where it differs.'),
    normalize_advantages: z.boolean().default(false).describe('Advantages to mean 0 and deviation 1.'),
    reward_clip_range: z
      .tuple([z.number(), z.number()])
      .refine(([low, high]) => low < high, 'is not a range from low to high')
      .optional()
      .describe('Rewards outside of it count as its end.'),
  })
  .superRefine((settings, context) => {
    checkTraining(settings, context);
    checkRollout(settings, context);
    if (settings.kl_target !== undefined && settings.beta === 0) {
      context.addIssue({
        code: 'custom',
        path: ['kl_target'],
        message: 'needs a beta above 0 to begin with',
      });
    }
    checkGroups(settings, context, settings.advantage_estimator === 'rloo' ? 2 : 1);
    checkSync(settings, context);
  });

export const rlooStage = rolloutStage({
  type: 'rloo',
  doc: 'Reinforcement learning against the mean of the other completions of a prompt; REINFORCE++.',
  schema,
  method(settings) {
    const make = settings.advantage_estimator === 'rloo' ? rloo : reinforcePlusPlus;
    return groupMethod(settings, {
      algorithm: make({
        clip: { low: settings.epsilon, high: settings.epsilon_high ?? settings.epsilon },
        normalizeAdvantages: settings.normalize_advantages,
        rewardClipRange: settings.reward_clip_range,
        maskTruncated: settings.mask_truncated_completions,
      }) as Algorithm,
      klCoefficient: settings.beta,
      klController: klController(settings),
      needsReference: settings.beta > 0,
    });
  },
});
