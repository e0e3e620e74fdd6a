/**
 * `reward`: a scalar head on a model, trained on pairs (Bradley-Terry) or whole rankings (Plackett-Luce), judged on
 * rows that it has not seen. The result is a sequence-classification folder as transformers has it.
 */

import { z } from 'zod';
import { rowFiles } from '../data/shapes/read.ts';
import { reportHeldOut, retellHeldOut } from '../preference/held_out.ts';
import { planPreference } from '../preference/plan.ts';
import { rewardObjective } from '../preference/rankings.ts';
import { checkPreference, preferenceFields, preferenceInputs } from '../preference/settings.ts';
import { runPreference } from '../preference/stage.ts';
import { defineStage } from './stage.ts';

const schema = z
  .strictObject({
    ...preferenceFields(1e-4),
    center_rewards_coefficient: z
      .number()
      .min(0)
      .default(0)
      .describe('Pulls the rewards of a row towards 0; the authors recommend 0.01.'),
    validation_fraction: z
      .number()
      .min(0)
      .max(0.5)
      .default(0.1)
      .describe('Share of the prompts that is held out for the report, where there is no eval_dataset.'),
  })
  .superRefine((settings, context) => {
    // The rows of the report are there in any case.
    const held = settings.eval_steps === undefined ? undefined : ['held out'];
    checkPreference({ ...settings, eval_dataset: held }, context);
    if (
      settings.eval_steps !== undefined &&
      settings.eval_dataset === undefined &&
      settings.validation_fraction === 0
    )
      context.addIssue({
        code: 'custom',
        path: ['eval_steps'],
        message: 'needs eval_dataset or validation_fraction',
      });
  });

export const rewardStage = defineStage({
  type: 'reward',
  doc: 'Trains a reward model on pairs or rankings of answers.',
  trains: true,
  schema,
  inputs: preferenceInputs,
  files: rowFiles,
  plan: (context) =>
    planPreference(context, { kind: 'rankings', answers: 2, reference: false, scoreHead: true }),
  run: (context) =>
    runPreference(context, {
      kind: 'rankings',
      scored: 'last',
      scoreHead: true,
      heldOut: context.settings.validation_fraction,
      objective: () =>
        rewardObjective({ centerRewardsCoefficient: context.settings.center_rewards_coefficient }),
      async finish(runtime, { validation }, maxRows) {
        if (validation.length > 0) await reportHeldOut(context, runtime, validation, maxRows);
      },
    }),
  retell: retellHeldOut,
});
