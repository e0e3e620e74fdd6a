/**
 * `online_dpo`: direct preference optimisation on pairs that the policy draws itself, the better one found by a
 * reward model or programs (Guo et al. 2024). Keys and defaults are TRL's; loss types are those of `dpo`.
 */
import { z } from 'zod';
import { checkDpo, dpoFields, lossFiles, readDpoSettings } from '../preference/dpo_settings.ts';
import type { Algorithm } from '../rollout/algorithm.ts';
import { onlineDpo, PAIR } from '../rollout/online_dpo.ts';
import { checkRollout, rolloutFields } from '../rollout/settings.ts';
import { rolloutStage } from '../rollout/stage.ts';
import { checkTraining } from '../training/settings.ts';

const schema = z
  .strictObject({
    ...rolloutFields({ learning_rate: 5e-7, temperature: 0.9 }),
    ...dpoFields,
    max_new_tokens: z.int().positive().default(64).describe('Tokens of a completion at most.'),
    missing_eos_penalty: z.number().min(0).default(0).describe('Taken from the score of a cut completion.'),
  })
  .superRefine((settings, context) => {
    checkTraining(settings, context);
    checkRollout(settings, context);
    checkDpo(settings, context);
  });

export const onlineDpoStage = rolloutStage({
  type: 'online_dpo',
  doc: 'Direct preference optimisation on pairs that the policy draws itself.',
  schema,
  files: lossFiles,
  method: async (settings, { baseDir, name }) => ({
    algorithm: onlineDpo(await readDpoSettings(settings, baseDir, name)) as Algorithm,
    groups: settings.per_device_train_batch_size * settings.gradient_accumulation_steps,
    groupSize: PAIR,
    passes: 1,
    batchSize: settings.per_device_train_batch_size * PAIR,
    maxCompletionLength: settings.max_new_tokens,
    klCoefficient: settings.beta,
    klController: undefined,
    needsReference: true,
    missingEosPenalty: settings.missing_eos_penalty,
    maxDraws: undefined,
    values: 'none',
    rollouts: undefined,
  }),
});
