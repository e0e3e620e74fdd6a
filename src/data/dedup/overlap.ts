/** `overlap.json`: what a dataset shares with evaluation sets, row by row. Scores look it up. */
import { z } from 'zod';

export const OVERLAP_FILE = 'overlap.json';

const overlapRow = z.strictObject({
  row: z.int().describe('From 0, in its set.'),
  documents: z
    .number()
    .describe('Training documents that have an n-gram of the row, or are counted in exact.'),
  exact: z
    .number()
    .describe('Training documents of just its words, or with successive messages of just them.'),
  share: z.number().describe('Share of its n-grams that any training document has.'),
  best: z.number().describe('Greatest share that one training document has.'),
});

export const overlapSchema = z.strictObject({
  format: z.literal(1),
  ngram: z.int(),
  min_words: z.int(),
  threshold: z.number().describe('A row is contaminated when one document has this share of its n-grams.'),
  action: z.enum(['drop', 'cut', 'report']),
  sets: z.array(
    z.strictObject({
      name: z.string(),
      keys: z.array(z.string()).describe('Of all rows, in order: hashes of their texts.'),
      contaminated: z.int().describe('Rows that are contaminated.'),
      rows: z.array(overlapRow).describe('Rows that share anything.'),
    }),
  ),
});
export type OverlapFile = z.output<typeof overlapSchema>;

/** Which rows of an evaluation a dataset was compared with, and which of them it has. */
export interface RowOverlap {
  compared: boolean[];
  contaminated: boolean[];
}

/** Looks up rows by their keys. */
export function overlapOf(keys: readonly string[], { sets, threshold }: OverlapFile): RowOverlap {
  const compared = new Set<string>();
  const contaminated = new Set<string>();
  for (const set of sets) {
    for (const key of set.keys) compared.add(key);
    for (const { row, best } of set.rows) if (best >= threshold) contaminated.add(set.keys[row]!);
  }
  return {
    compared: keys.map((key) => compared.has(key)),
    contaminated: keys.map((key) => contaminated.has(key)),
  };
}
