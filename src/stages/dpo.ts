/** `dpo`: direct preference optimisation over pairs, with TRL's loss types and losses of the recipe's own. */

import { z } from 'zod';
import { rowFiles } from '../data/shapes/read.ts';
import {
  checkDpo,
  checkWeighting,
  dpoFields,
  lossFiles,
  readDpoSettings,
  weightingFields,
} from '../preference/dpo_settings.ts';
import { dpoObjective } from '../preference/pairs.ts';
import { planPreference } from '../preference/plan.ts';
import {
  checkPreference,
  preferenceFields,
  referenceFields,
  referenceInputs,
  syncFields,
} from '../preference/settings.ts';
import { runPreference } from '../preference/stage.ts';
import { defineStage } from './stage.ts';

const schema = z
  .strictObject({
    ...preferenceFields(1e-6),
    ...referenceFields,
    ...syncFields,
    ...dpoFields,
    ...weightingFields,
  })
  .superRefine((settings, context) => {
    checkPreference(settings, context);
    checkDpo(settings, context);
    checkWeighting(settings, context);
  });

export const dpoStage = defineStage({
  type: 'dpo',
  doc: 'Trains a model to prefer chosen answers to rejected ones.',
  schema,
  serves: true,
  trains: true,
  inputs: referenceInputs,
  files: async (settings, baseDir) => [
    ...(await rowFiles(settings, baseDir)),
    ...lossFiles(settings, baseDir),
  ],
  plan: (context) => planPreference(context, { kind: 'pairs', answers: 2, reference: true }),
  async run(context) {
    const losses = await readDpoSettings(context.settings, context.baseDir, context.name);
    await runPreference(context, {
      kind: 'pairs',
      scored: 'answers',
      objective: () => dpoObjective(losses),
    });
  },
});
