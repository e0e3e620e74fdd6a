/** Settings of the `compare` stage: models, what they are asked, and who says which answer wins. */
import { z } from 'zod';
import { dataFiles } from '../data/files.ts';
import { rowSettings } from '../data/shapes/settings.ts';
import { rewardSettings } from '../rewards/index.ts';

export const compareSchema = z
  .strictObject({
    models: z
      .record(z.string(), z.string())
      .refine((models) => Object.keys(models).length > 1, 'names fewer than two models')
      .describe('Models by the name that the table gives them: stages, or folders.'),
    against: z.string().describe('The one of them that the others are compared with.'),
    dataset: dataFiles.describe(
      'Data files: `prompt` or `messages`, what the rewards need, and `answer` for exact match.',
    ),
    ...rowSettings.shape,
    rewards: rewardSettings
      .optional()
      .describe('Programs that judge, each with a weight: they say who wins.'),
    reward_model: z
      .string()
      .optional()
      .describe(
        'A `reward` stage, or a folder of its kind: a column of its own, and the judge where there are no programs.',
      ),
    temperature: z.number().positive().default(1).describe('Of the responses that are judged.'),
    num_generations: z.int().positive().default(1).describe('Responses to each prompt that are judged.'),
    max_new_tokens: z.int().positive().default(64).describe('Tokens of a response at most.'),
    batch_size: z.int().positive().default(64).describe('Responses drawn side by side.'),
    examples: z.int().min(0).default(5).describe('Greedy responses that the report shows.'),
  })
  .superRefine((settings, context) => {
    const issue = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    if (!Object.hasOwn(settings.models, settings.against)) issue('against', 'is not one of models');
    if (!settings.rewards && settings.reward_model === undefined)
      issue('rewards', 'or reward_model must be given');
  });
export type CompareSettings = z.output<typeof compareSchema>;
