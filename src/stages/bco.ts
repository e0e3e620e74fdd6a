/** `bco`: a binary classifier of good and bad answers as the reward, shifted by the running mean of rewards. */

import { resolve } from 'node:path';
import { z } from 'zod';
import { rowFiles } from '../data/shapes/read.ts';
import { bcoObjective } from '../preference/labelled.ts';
import { planPreference } from '../preference/plan.ts';
import { promptWeights } from '../preference/prompt_weights.ts';
import {
  checkPreference,
  preferenceFields,
  referenceFields,
  referenceInputs,
} from '../preference/settings.ts';
import { runPreference } from '../preference/stage.ts';
import { defineStage } from './stage.ts';

const schema = z
  .strictObject({
    ...preferenceFields(1e-6),
    ...referenceFields,
    beta: z.number().positive().default(0.1).describe('How near to the reference the policy is held.'),
    prompt_embedding: z
      .string()
      .min(1)
      .optional()
      .describe(
        'An .mjs file whose default export embeds prompts: weights undesirable answers by how likely their prompts are among the desirable ones.',
      ),
    prompt_sample_size: z
      .int()
      .min(2)
      .default(1024)
      .describe('Prompts of each kind that the weights are learnt from.'),
    min_density_ratio: z.number().positive().default(0.5).describe('Least weight.'),
    max_density_ratio: z.number().positive().default(10).describe('Greatest weight.'),
  })
  .superRefine(checkPreference);

export const bcoStage = defineStage({
  type: 'bco',
  doc: 'Trains on answers that are labelled as good or not, as a binary classifier.',
  schema,
  serves: true,
  trains: true,
  inputs: referenceInputs,
  files: async (settings, baseDir) => [
    ...(await rowFiles(settings, baseDir)),
    ...(settings.prompt_embedding === undefined ? [] : [resolve(baseDir, settings.prompt_embedding)]),
  ],
  plan: (context) => planPreference(context, { kind: 'labels', answers: 1, reference: true }),
  run: (context) => {
    const { settings, baseDir, seed, name } = context;
    return runPreference(context, {
      kind: 'labels',
      scored: 'answers',
      async objective({ train, validation, tokenizer }) {
        const weights =
          settings.prompt_embedding === undefined
            ? new Map<never, number>()
            : await promptWeights(
                resolve(baseDir, settings.prompt_embedding),
                { train, validation },
                tokenizer,
                {
                  sampleSize: settings.prompt_sample_size,
                  lowest: settings.min_density_ratio,
                  highest: settings.max_density_ratio,
                  seed,
                  place: `stages.${name}.prompt_embedding`,
                },
              );
        return bcoObjective(settings, weights);
      },
    });
  },
});
