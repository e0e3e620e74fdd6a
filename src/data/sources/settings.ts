/** How sources are read: part of the settings of every stage that reads data. */
import { z } from 'zod';

export const FORMATS = ['text', 'jsonl'] as const;
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
  max_document_bytes: z
    .int()
    .min(1)
    .default(DEFAULT_MAX_BYTES)
    .describe('Longer rows and documents are bad rows.'),
});
export type SourceSettings = z.output<typeof sourceSettings>;

/** What is not the recipe's to say. */
export interface SourceOptions {
  /** Files that can be cut are cut at multiples of this; Infinity leaves them whole. */
  unitBytes?: number;
}

export const DEFAULT_UNIT_BYTES = 64 * 1024 * 1024;
