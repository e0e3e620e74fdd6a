/** What a unit of work says about itself; sums of them are what a source, and a dataset, say. */
import { z } from 'zod';
import { cleaningReportSchema, mergeCleaningReports } from '../cleaning/report.ts';
import { LengthHistogram } from '../page/histogram.ts';

const count = z.number().min(0);
const counts = z.record(z.string(), count);

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
  /** Documents that were kept, their tokens and the bytes of their text. */
  documents: count,
  tokens: count,
  bytes: count,
  /** Tokens of the documents. */
  lengths: storedHistogramSchema,
  cleaning: cleaningReportSchema.optional(),
});
export type UnitReport = z.output<typeof unitReportSchema>;

/** Messages of rows that did not fit that are kept. */
export const FIRST_REJECTED = 3;

export function emptyReport(): UnitReport {
  return {
    rows: 0,
    filtered: 0,
    rejected: 0,
    first_rejected: [],
    shapes: {},
    documents: 0,
    tokens: 0,
    bytes: 0,
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

/** Adds a unit's report to the sum of those before it. */
export function addReport(sum: UnitReport, unit: UnitReport): void {
  for (const name of ['rows', 'filtered', 'rejected', 'documents', 'tokens', 'bytes'] as const)
    sum[name] += unit[name];
  for (const [shape, amount] of Object.entries(unit.shapes)) addCount(sum.shapes, shape, amount);
  sum.first_rejected = [...sum.first_rejected, ...unit.first_rejected].slice(0, FIRST_REJECTED);
  const lengths = LengthHistogram.from(sum.lengths);
  lengths.merge(unit.lengths);
  sum.lengths = lengths.stored();
  if (unit.cleaning) {
    sum.cleaning = mergeCleaningReports(sum.cleaning ? [sum.cleaning, unit.cleaning] : [unit.cleaning]);
  }
}
