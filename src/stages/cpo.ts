/** `cpo`: contrastive preference optimisation and, as `loss_type: simpo`, SimPO; without a reference. */

import { z } from 'zod';
import { rowFiles } from '../data/shapes/read.ts';
import { CPO_LOSSES } from '../objectives/cpo.ts';
import { cpoObjective } from '../preference/pairs.ts';
import { planPreference } from '../preference/plan.ts';
import { checkPreference, preferenceFields, preferenceInputs } from '../preference/settings.ts';
import { runPreference } from '../preference/stage.ts';
import { defineStage } from './stage.ts';

const schema = z
  .strictObject({
    ...preferenceFields(1e-6),
    beta: z.number().positive().default(0.1).describe('Scale of the rewards; SimPO wants 2 to 10.'),
    loss_type: z.enum(CPO_LOSSES).default('sigmoid').describe('simpo and ipo look at rewards per token.'),
    label_smoothing: z.number().min(0).lt(0.5).default(0).describe('Share of labels taken as flipped.'),
    cpo_alpha: z
      .number()
      .min(0)
      .default(1)
      .describe('Weight of the likelihood of the chosen answers; SimPO as published has 0.'),
    simpo_gamma: z.number().default(0.5).describe('By how much the rewards of SimPO are to differ.'),
    alpha: z.number().default(0).describe("AlphaPO's bend of the reward; 0: none."),
  })
  .superRefine((settings, context) => {
    checkPreference(settings, context);
    if (settings.label_smoothing > 0 && !['sigmoid', 'simpo'].includes(settings.loss_type)) {
      context.addIssue({
        code: 'custom',
        path: ['label_smoothing'],
        message: `is not used by ${settings.loss_type}`,
      });
    }
  });

export const cpoStage = defineStage({
  type: 'cpo',
  doc: 'Trains on pairs without a reference: CPO, SimPO.',
  schema,
  serves: true,
  trains: true,
  inputs: preferenceInputs,
  files: rowFiles,
  plan: (context) => planPreference(context, { kind: 'pairs', answers: 2, reference: false }),
  run: (context) => {
    const { settings } = context;
    const objective = cpoObjective({
      lossType: settings.loss_type,
      beta: settings.beta,
      labelSmoothing: settings.label_smoothing,
      simpoGamma: settings.simpo_gamma,
      cpoAlpha: settings.cpo_alpha,
      alpha: settings.alpha,
    });
    return runPreference(context, { kind: 'pairs', scored: 'answers', objective: () => objective });
  },
});
