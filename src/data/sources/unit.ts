/**
 * What data sources are made of: units (a file, a part of one, or a member of an archive) that hold records. A unit
 * is plain JSON, and which units there are follows from files and settings alone, so that any process can read any
 * of them.
 */
import type { Compression } from './compression.ts';
import type { Format } from './settings.ts';

/** What tells a file from what it was or becomes. */
export interface FileState {
  bytes: number;
  /** When it was written to last, in milliseconds since 1970. */
  modified: number;
}

export interface SourceUnit {
  /** As messages and ledgers name it: a path, a URL, or `archive.tar!/member`. */
  location: string;
  /** The file on this machine. */
  path: string;
  /** Name of the archive's member that holds the content. */
  member?: string;
  /** Where the member's content lies in the file, if it lies there as it is, and how long it is. */
  within?: { offset: number; bytes: number };
  /** The archive, where the member has to be taken out of it. */
  archive?: { kind: 'tar' | 'zip'; index: number; compression: Compression };
  format: Format;
  /** Of the content: of the file, or of the member. */
  compression: Compression;
  /**
   * Range of the content that the unit owns: the rows that begin in it. Files of lines and paragraphs are cut by
   * bytes, Parquet by row groups, Arrow by record batches; anything else is one unit from 0.
   */
  start: number;
  /** Exclusive; undefined is up to the end of the content. */
  end?: number;
  /** Bytes of the stored file that the unit takes, for progress and balance. */
  bytes: number;
  /** The whole file when the units were listed: one that is not the same later is another file. */
  file: FileState;
}

export type Fields = Record<string, unknown>;

/** What is wrong with a row that cannot be read. */
export interface BadRow {
  code: 'data_syntax' | 'data_encoding';
  /** Where one field is to blame. */
  field?: string;
  /** Goes on from the row's place: `is not valid JSON: ...`. */
  message: string;
  hint?: string;
  /** The beginning of the row as it stands. */
  excerpt: string;
}

/**
 * A row as it was read, before anything looked at its shape: `text` of text formats (with what is known beside it
 * in `fields`, such as a page's URL), `fields` of structured ones, or `bad`.
 */
export interface RawRecord {
  /**
   * Names the row in its unit, by `recordOrigin`: line or row number from 1; in a range of bytes that does not begin
   * at 0, where nobody has counted lines, the byte that the row begins at.
   */
  line: number;
  /** Bytes of the unit (as stored) that were read up to the end of the row: for progress. */
  end: number;
  text?: Buffer;
  fields?: Fields;
  bad?: BadRow;
}

/** `file:12`, or `file:@4096` by the byte: a row as messages and ledgers name it. */
export function recordOrigin(unit: Pick<SourceUnit, 'location' | 'format' | 'start'>, line: number): string {
  return `${unit.location}:${unit.start > 0 && isByteRange(unit.format) ? '@' : ''}${line}`;
}

/** Whether ranges of this format count bytes; those of others count groups of rows, and their rows are numbered. */
export function isByteRange(format: Format): boolean {
  return format === 'text' || format === 'jsonl';
}

const EXCERPT_BYTES = 200;

/** The beginning of a broken row, for people. */
export function excerpt(bytes: Uint8Array): string {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, EXCERPT_BYTES)).toString();
  return bytes.length > EXCERPT_BYTES ? `${head}...` : head;
}
