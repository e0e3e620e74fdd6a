/**
 * Commands by which people rank responses: a dataset of responses is opened by a labeller, task after task is shown
 * and labelled. A task is one prompt and one criterion; pairwise, one pair of its responses. Whose model wrote which
 * response is never told, and their order is shuffled for each labeller.
 */
import { z } from 'zod';

/** Names of labellers and criteria: they stand in file names and columns. */
export const labelName = z
  .string()
  .max(60)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'a name is letters, digits, `.`, `_` and `-`');

/** What responses are ranked by unless somebody says otherwise. */
export const DEFAULT_CRITERIA = ['accuracy', 'helpfulness', 'safety'];

const read = {
  dataset: z
    .string()
    .describe('`<job>/<stage>` of a `generate` stage, a folder that it made, or a file of responses.'),
  settings: z
    .record(z.string(), z.unknown())
    .default({})
    .describe(
      'How its rows are read, as in a recipe: `fields`, `where`, ... Labels belong to rows whatever `where` says.',
    ),
};

const selection = {
  ...read,
  labeller: labelName.describe('Who labels.'),
  criteria: z.array(labelName).min(1).max(20).default(DEFAULT_CRITERIA),
  pairwise: z.boolean().default(false).describe('Tasks are pairs of responses instead of all of a prompt.'),
};

const ranking = z
  .array(z.array(z.int().min(0)).min(1))
  .describe('Best first, equally good ones together; each response once.');

const progress = {
  tasks: z.int(),
  done: z.int().describe('Tasks that are labelled or skipped.'),
  next: z.int().nullable().describe('The first of the others, seen from the task that was asked about.'),
};

export const labelSchema = z.strictObject({
  row: z.string().describe('Id of the row in the dataset.'),
  labeller: labelName,
  criterion: labelName,
  of: z.array(z.int().min(0)).min(2).describe('Indices of the responses that were shown.'),
  ranking: ranking.nullable().describe('Of the indices in `of`; nil: skipped.'),
  time: z.number().describe('Unix seconds.'),
});
export type Label = z.infer<typeof labelSchema>;

export const RANK_COMMANDS = {
  'rank.open': {
    doc: 'How far a labeller is with a dataset of responses.',
    request: z.strictObject(selection),
    reply: z.strictObject({
      id: z.string().describe('Hash of the dataset: its labels lie in `labels/<id>` of the home.'),
      rows: z.int(),
      ...progress,
    }),
  },
  'rank.task': {
    doc: 'One task: a prompt and its responses in the order of this labeller, without their models.',
    request: z.strictObject({ ...selection, task: z.int().min(0) }),
    reply: z.strictObject({
      row: z.string(),
      criterion: z.string(),
      messages: z
        .array(z.strictObject({ role: z.string(), content: z.string() }))
        .describe('The conversation; a prompt in plain text is one message of the role `text`.'),
      responses: z.array(z.string()).describe('Different texts; equal ones are shown once.'),
      state: z.enum(['open', 'labelled', 'skipped']),
      ranking: ranking.nullable().describe('What this labeller said, by places in `responses`.'),
    }),
  },
  'rank.label': {
    doc: 'Says how a task is ranked, or that it is skipped; it is durable when the reply comes. A later word replaces it.',
    request: z.strictObject({
      ...selection,
      task: z.int().min(0),
      ranking: ranking.nullable().describe('By places in `responses` of the task, each once; nil: skip.'),
    }),
    reply: z.strictObject(progress),
  },
  'rank.labels': {
    doc: 'Rows of a dataset with all labels so far, in the order of the dataset.',
    request: z.strictObject({
      ...read,
      from: z.int().min(0).default(0).describe('Number of the first row.'),
      limit: z.int().positive().max(1_000).default(100),
    }),
    reply: z.strictObject({
      rows: z.array(
        z.strictObject({
          row: z.string(),
          prompt: z.string(),
          responses: z.array(z.string()),
          labels: z.array(labelSchema),
        }),
      ),
      total: z.int(),
    }),
  },
  'rank.import': {
    doc: 'Adds labels that were made elsewhere; one for the same row, labeller, criterion and responses is replaced.',
    request: z.strictObject({
      ...read,
      labels: z.array(labelSchema.omit({ time: true })).max(1_000),
    }),
    reply: z.strictObject({ imported: z.int() }),
  },
} as const;
