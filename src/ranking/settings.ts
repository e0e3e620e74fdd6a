/** Settings of the `rank` stage: whose labels, how they become scores, how scores become pairs. */
import { z } from 'zod';
import { labelName } from '../../proto/ranking.ts';
import { dataFiles } from '../data/files.ts';
import { rowSettings } from '../data/shapes/settings.ts';
import { rewardSettings } from '../rewards/index.ts';
import { PAIRINGS } from './order.ts';

const criteria = z.union([
  z
    .array(labelName)
    .min(1)
    .transform((names) => Object.fromEntries(names.map((name) => [name, 1]))),
  z.record(labelName, z.number().positive()),
]);

/** Keys that not all kinds of labels have. */
const KEYS = {
  people: ['criteria', 'min_labellers', 'min_share'],
  reward_model: ['reward_model', 'max_length'],
  judge: ['judge', 'rubric', 'max_length'],
  programs: ['programs'],
} as const;

export const DEFAULT_RUBRIC =
  'Compare two answers to the same question. The better one is correct, does what was asked, and says nothing that is not needed.';

export const rankSchema = z
  .strictObject({
    dataset: dataFiles.describe(
      'A `generate` stage, or data files with `prompt` (or `messages`) and `responses`.',
    ),
    ...rowSettings.shape,
    labels: z
      .enum(['people', 'reward_model', 'judge', 'programs'])
      .describe('Who says which response is better. People label with `anneal rank`.'),
    programs: rewardSettings
      .optional()
      .describe('Programs that reward (see below), each with a weight: their weighted sum is the score.'),
    reward_model: z
      .string()
      .optional()
      .describe('A `reward` stage, or a folder of its kind: its score ranks.'),
    max_length: z
      .int()
      .positive()
      .optional()
      .describe(
        'Longest prompt with its response that the reward model reads, or question that the judge reads. Default: its context.',
      ),
    judge: z.string().optional().describe('A model that compares every two responses, in both orders.'),
    rubric: z.string().min(1).optional().describe('What the judge is told to look at.'),
    criteria: criteria
      .optional()
      .describe('What people ranked by, as a list or with weights. Default: all that they used, equally.'),
    min_labellers: z.int().positive().optional().describe('People who have to see each prompt. Default: 1.'),
    min_share: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe('Share of the prompts that need them. Default: 1.'),
    pairs: z
      .enum(PAIRINGS)
      .default('all')
      .describe('Pairs of every two responses, of the best with the worst, or of neighbours in the ranking.'),
    min_margin: z.number().min(0).default(0).describe('Smallest difference of scores that makes a pair.'),
    batch_size: z
      .int()
      .positive()
      .default(16)
      .describe('Prompts whose responses are scored or compared at a time.'),
    examples: z
      .int()
      .min(0)
      .default(5)
      .describe('Prompts that the report shows with their best and worst response.'),
  })
  .superRefine((settings, context) => {
    const issue = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    const { labels } = settings;
    if (labels !== 'people' && settings[labels] === undefined)
      issue(labels, `is missing: labels are those of ${labels}`);
    const own: readonly string[] = KEYS[labels];
    for (const key of Object.values(KEYS).flat()) {
      if (!own.includes(key) && settings[key] !== undefined) issue(key, `does not go with labels: ${labels}`);
    }
    if (labels === 'people' && settings.dataset.length > 1)
      issue('dataset', 'must be one file where people label');
    if (labels === 'people' && settings.max_rejected > 0)
      issue('max_rejected', 'does not go with labels: people');
  });
export type RankSettings = z.output<typeof rankSchema>;
