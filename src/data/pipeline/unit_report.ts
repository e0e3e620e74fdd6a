/** What a unit of work says about itself; sums of them are what a source, and a dataset, say. */
import { z } from 'zod';
import { AnnealError } from '../../../proto/errors.ts';
import { cleaningReportSchema, mergeCleaningReports } from '../cleaning/report.ts';
import { LengthHistogram } from '../page/histogram.ts';
import type { PrepareSource } from './settings.ts';

const count = z.number().min(0);
const counts = z.record(z.string(), count);

const exampleSchema = z.strictObject({
  set: z.string(),
  /** `file:12` */
  row: z.string(),
  share: z.number(),
  excerpt: z.string(),
});
export type OverlapExample = z.output<typeof exampleSchema>;

const storedHistogramSchema = z.strictObject({
  bins: z.array(z.tuple([count, count])),
  sum: count,
  min: count,
  max: count,
});

export const unitReportSchema = z.strictObject({
  /** Rows that were read, and of these those that `where` left out and those that did not fit. */
  rows: count,
  filtered: count,
  rejected: count,
  /** The first rows that did not fit, for messages. */
  first_rejected: z.array(z.string()),
  /** Rows by their shape. */
  shapes: counts,
  /** Rows by a shape that they have as well, and that is not read. */
  besides: counts,
  /** Documents that were kept, their tokens and the bytes of their text. */
  documents: count,
  tokens: count,
  bytes: count,
  /** Lines and paragraphs that were removed because earlier documents have them, and from how many documents. */
  removed: z.strictObject({
    lines: count,
    lines_documents: count,
    paragraphs: count,
    paragraphs_documents: count,
  }),
  /** Documents that have too much in common with evaluation sets, the first few, and those that had nothing else. */
  contaminated: count,
  overlap_examples: z.array(exampleSchema),
  emptied: count,
  /** Tokens of the documents. */
  lengths: storedHistogramSchema,
  cleaning: cleaningReportSchema.optional(),
});
export type UnitReport = z.output<typeof unitReportSchema>;

/** Messages of rows that did not fit, and examples, that are kept. */
export const FIRST_REJECTED = 3;

export function emptyReport(): UnitReport {
  return {
    rows: 0,
    filtered: 0,
    rejected: 0,
    first_rejected: [],
    shapes: {},
    besides: {},
    documents: 0,
    tokens: 0,
    bytes: 0,
    removed: { lines: 0, lines_documents: 0, paragraphs: 0, paragraphs_documents: 0 },
    contaminated: 0,
    overlap_examples: [],
    emptied: 0,
    lengths: { bins: [], sum: 0, min: 0, max: 0 },
  };
}

/** A report that is being made. */
export interface Tally {
  report: UnitReport;
  lengths: LengthHistogram;
}

/** Adds `amount` to a count by name. */
export function addCount(to: Record<string, number>, name: string, amount = 1): void {
  if (amount > 0) to[name] = (to[name] ?? 0) + amount;
}

/** Keeps the example if there are not enough yet. */
export function addExample(report: UnitReport, example: OverlapExample): void {
  if (report.overlap_examples.length < FIRST_REJECTED) report.overlap_examples.push(example);
}

const COUNTS = [
  'rows',
  'filtered',
  'rejected',
  'contaminated',
  'emptied',
  'documents',
  'tokens',
  'bytes',
] as const;
const REMOVED = ['lines', 'lines_documents', 'paragraphs', 'paragraphs_documents'] as const;

/** Adds a unit's report to the sum of those before it. */
export function addReport(sum: UnitReport, unit: UnitReport): void {
  for (const name of COUNTS) sum[name] += unit[name];
  for (const [shape, amount] of Object.entries(unit.shapes)) addCount(sum.shapes, shape, amount);
  for (const [shape, amount] of Object.entries(unit.besides)) addCount(sum.besides, shape, amount);
  for (const name of REMOVED) sum.removed[name] += unit.removed[name];
  for (const example of unit.overlap_examples) addExample(sum, example);
  sum.first_rejected = [...sum.first_rejected, ...unit.first_rejected].slice(0, FIRST_REJECTED);
  const lengths = LengthHistogram.from(sum.lengths);
  lengths.merge(unit.lengths);
  sum.lengths = lengths.stored();
  if (unit.cleaning) {
    sum.cleaning = mergeCleaningReports(sum.cleaning ? [sum.cleaning, unit.cleaning] : [unit.cleaning]);
  }
}

/** Refuses a source of which more rows do not fit than its settings allow. */
export function requireFitting(source: PrepareSource, report: UnitReport, stage: string): void {
  const { rows, rejected, first_rejected } = report;
  if (rejected <= source.max_rejected * rows) return;
  const share = `${((100 * rejected) / rows).toPrecision(2)}%`;
  throw new AnnealError(
    'data_rejected',
    `${stage}: ${rejected} of ${rows} rows of ${source.name} do not fit (${share}, max_rejected allows ${100 * source.max_rejected}%): ${first_rejected.join(' ')}`,
    {
      path: `stages.${stage}.files`,
      hint: 'Mend the rows, name their fields in `fields`, leave them out with `where`, or raise max_rejected.',
    },
  );
}
