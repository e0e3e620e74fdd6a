/** `orpo`: likelihood of the chosen answers and the odds ratio of chosen to rejected in one, without a reference. */

import { z } from 'zod';
import { rowFiles } from '../data/shapes/read.ts';
import { orpoObjective } from '../preference/pairs.ts';
import { planPreference } from '../preference/plan.ts';
import { checkPreference, preferenceFields, preferenceInputs } from '../preference/settings.ts';
import { runPreference } from '../preference/stage.ts';
import { defineStage } from './stage.ts';

const schema = z
  .strictObject({
    ...preferenceFields(1e-6),
    beta: z.number().positive().default(0.1).describe('Weight of the odds ratio beside the likelihood.'),
  })
  .superRefine(checkPreference);

export const orpoStage = defineStage({
  type: 'orpo',
  doc: 'Fine-tunes on chosen answers and away from rejected ones at once, without a reference.',
  schema,
  serves: true,
  trains: true,
  inputs: preferenceInputs,
  files: rowFiles,
  plan: (context) => planPreference(context, { kind: 'pairs', answers: 2, reference: false }),
  run: (context) =>
    runPreference(context, {
      kind: 'pairs',
      scored: 'all',
      objective: () => orpoObjective(context.settings),
    }),
});
