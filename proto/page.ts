/**
 * A page about data: what `anneal data` answers, and what a `prepare` stage leaves beside its dataset. One document
 * for all who show it: the terminal (src/cli/view/page.ts) and a browser (src/data/page/html.ts).
 */
import { z } from 'zod';

const cell = z.union([z.string(), z.number(), z.null()]);
const head = {
  title: z.string(),
  note: z.string().optional().describe('A sentence below the title: what is counted, and how.'),
};

const facts = z.strictObject({
  kind: z.literal('facts'),
  ...head,
  facts: z.array(z.strictObject({ name: z.string(), value: cell, note: z.string().optional() })),
});

const table = z.strictObject({
  kind: z.literal('table'),
  ...head,
  columns: z.array(z.string()),
  rows: z.array(z.array(cell)),
});

const histogram = z.strictObject({
  kind: z.literal('histogram'),
  ...head,
  unit: z.string().describe('What the lengths are counted in, in the plural.'),
  bins: z
    .array(z.strictObject({ from: z.number(), to: z.number(), count: z.number() }))
    .describe('In order and without gaps; `to` belongs to the bin.'),
  summary: z
    .strictObject({
      count: z.number(),
      mean: z.number(),
      min: z.number(),
      p50: z.number(),
      p90: z.number(),
      p99: z.number(),
      max: z.number(),
    })
    .nullable()
    .describe('Quantiles to within a tenth; null when nothing was counted.'),
});

const rows = z.strictObject({
  kind: z.literal('rows'),
  ...head,
  rows: z.array(
    z.strictObject({
      origin: z.string().describe('Where the row is: `file:line`.'),
      label: z.string().optional().describe('What is said of it.'),
      spans: z.array(
        z.strictObject({ text: z.string(), marked: z.boolean().describe('Scored, found, or changed text.') }),
      ),
    }),
  ),
});

export const pageSchema = z.strictObject({
  title: z.string(),
  sections: z.array(z.discriminatedUnion('kind', [facts, table, histogram, rows])),
});

export type Page = z.output<typeof pageSchema>;
export type Section = Page['sections'][number];
export type SectionOf<K extends Section['kind']> = Extract<Section, { kind: K }>;
