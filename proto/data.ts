/** The command by which people look at data: raw files, or what a `prepare` stage has made of them. */
import { z } from 'zod';
import { pageSchema } from './page.ts';

const places = z
  .array(z.string().min(1))
  .min(1)
  .describe('Files or patterns, or one dataset: `<job>/<stage>`, or the folder of one.');
const limit = (most: number, count: number) => z.int().min(0).max(most).default(count);

export const dataQuery = z.discriminatedUnion('query', [
  z.strictObject({
    query: z
      .literal('inspect')
      .describe('What raw files hold: shape, fields, lengths, languages, duplicates.'),
    in: places,
    settings: z
      .record(z.string(), z.unknown())
      .default({})
      .describe('As in a recipe: `format`, `text_field`, `fields`, `where`, ...'),
    model: z.string().optional().describe('Examples are rendered and tokenised as for this model.'),
    max_rows: z.int().min(1).default(100_000).describe('Rows that are read at most.'),
    examples: limit(100, 3),
  }),
  z.strictObject({
    query: z.literal('stats').describe('Counts and lengths of a prepared dataset.'),
    in: places.max(1),
  }),
  z.strictObject({
    query: z.literal('grep').describe('Rows whose text matches a regular expression.'),
    in: places,
    pattern: z.string().min(1),
    ignore_case: z.boolean().default(false),
    limit: limit(10_000, 20),
  }),
  z.strictObject({
    query: z.literal('sample').describe('Rows drawn at random.'),
    in: places,
    count: limit(1_000, 5),
    seed: z.int().min(0).default(0),
  }),
  z.strictObject({
    query: z
      .literal('trace')
      .describe('Where a row is in a prepared dataset, and which jobs trained on it, when.'),
    in: places.max(1).optional(),
    row: z.string().min(1).describe('Its origin: `file:line`, or the end of one.'),
  }),
  z.strictObject({
    query: z.literal('diff').describe('Which documents one dataset has and the other has not.'),
    a: z.string().min(1),
    b: z.string().min(1),
    examples: limit(100, 3),
  }),
]);
export type DataQuery = z.output<typeof dataQuery>;
export type DataQueryOf<Q extends DataQuery['query']> = Extract<DataQuery, { query: Q }>;

export const DATA_COMMANDS = {
  'data.query': {
    doc: 'Looks at data; a worker answers, beside whatever runs.',
    request: z.strictObject({
      base_dir: z.string().describe('Folder from which relative paths start.'),
      ask: dataQuery,
      html: z.string().optional().describe('File that the page is written to as HTML.'),
    }),
    reply: z.strictObject({ page: pageSchema }),
  },
} as const;
