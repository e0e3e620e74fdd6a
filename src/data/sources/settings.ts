/** How sources are read: part of the settings of every stage that reads data. */
import { z } from 'zod';

export const FORMATS = [
  'text',
  'jsonl',
  'json',
  'csv',
  'tsv',
  'parquet',
  'arrow',
  'markdown',
  'html',
  'warc',
] as const;
export type Format = (typeof FORMATS)[number];

/** The longest row or document that is read unless told otherwise. */
export const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

export const sourceSettings = z.strictObject({
  format: z
    .enum(['auto', ...FORMATS])
    .default('auto')
    .describe('`auto` goes by the first bytes, then by the name; what neither tells is text.'),
  text_unit: z
    .enum(['document', 'paragraph', 'line'])
    .default('document')
    .describe('What is one document of a text file: the whole file, text between blank lines, or a line.'),
  rows_field: z
    .string()
    .min(1)
    .optional()
    .describe('JSON: the field of the file that holds the list of rows, where there are several lists.'),
  columns: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('CSV and TSV without a header line: the names of the columns.'),
  delimiter: z
    .string()
    .min(1)
    .max(8)
    .optional()
    .describe('CSV and TSV: what stands between columns; a comma or a tab unless set.'),
  max_document_bytes: z
    .int()
    .min(1)
    .default(DEFAULT_MAX_BYTES)
    .describe('Longer rows and documents are bad rows.'),
  max_expansion: z
    .number()
    .min(2)
    .default(250)
    .describe('Compressed data that grows by more than this, once past 64 MB, is refused.'),
});
export type SourceSettings = z.output<typeof sourceSettings>;

/** What is not the recipe's to say. */
export interface SourceOptions {
  /** Files that can be cut are cut at multiples of this; Infinity leaves them whole. */
  unitBytes?: number;
  /** Folder of what was fetched from URLs; that of the user's caches unless set. */
  cacheDir?: string;
}

export const DEFAULT_UNIT_BYTES = 64 * 1024 * 1024;
