/**
 * CSV and TSV (RFC 4180): a header line that names the columns (or `columns`), then rows of text. A row of another
 * width, or with a quote astray, is a bad row. Rows are named by the line that they begin at, as they may have
 * several.
 *
 * Its own parser, as rows have to go on behind a broken one and memory has to stay bounded: csv-parse loses the rest
 * of what it was given when a row is too long, and takes everything up to the next quote for part of a broken row.
 */
import { isUtf8 } from 'node:buffer';
import { AnnealError } from '../../../proto/errors.ts';
import { formatBytes } from '../../util/files.ts';
import type { Content } from '../sources/bytes.ts';
import type { SourceSettings } from '../sources/settings.ts';
import type { BadRow, Fields, RawRecord, SourceUnit } from '../sources/unit.ts';
import { badEncoding, badSyntax, tooLong } from './bad.ts';
import { behindMark, isBlank, readLineBlocks } from './lines.ts';

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const QUOTE = 0x22;
const HINT =
  'A row has as many columns as the header; text with quotes, delimiters or line breaks is quoted.';

export async function* readCsv(
  content: Content,
  unit: SourceUnit,
  settings: SourceSettings,
): AsyncGenerator<RawRecord[]> {
  const maxBytes = settings.max_document_bytes;
  const table = new Table(unit, settings);
  let line = 1;
  /** Lines from a row on whose quotes are still open. */
  let open: Buffer[] = [];
  let openBytes = 0;
  /** They are looked at again once they have doubled: each time would take the square of a long row's length. */
  let enough = 0;
  /** The rows that end in the bytes; what is left is open. */
  const rowsOf = (bytes: Buffer, begin: number): RawRecord[] => {
    const valid = isUtf8(bytes);
    const records: RawRecord[] = [];
    open = [];
    openBytes = 0;
    for (let start = begin === 0 ? behindMark(bytes) : 0; start < bytes.length; ) {
      const row = table.split(bytes, start);
      if (row === undefined) {
        open = [bytes.subarray(start)];
        openBytes = bytes.length - start;
        enough = 2 * openBytes;
        break;
      }
      const end = content.progress(begin + row.end);
      const raw = bytes.subarray(start, row.end);
      if (raw.length > maxBytes + 2) {
        records.push({ line, end, bad: tooLong(raw, raw.length, 'a row') });
      } else if (!isBlank(bytes, start, row.end)) {
        const record = valid || isUtf8(raw) ? table.row(row, raw, line) : { bad: badEncoding(raw) };
        if (record !== undefined) records.push({ line, end, ...record });
      }
      line += row.lines;
      start = row.end;
    }
    return records;
  };
  let end = 0;
  for await (const block of readLineBlocks(content.chunks, content.offset, maxBytes)) {
    end = block.end;
    if (block.cut) {
      if (openBytes > 0 || table.split(block.bytes, 0) === undefined) throw neverClosed(unit, line, maxBytes);
      const bad = tooLong(block.bytes, block.end - block.offset, 'a row');
      yield [{ line, end: content.progress(block.end), bad }];
      line += 1;
      continue;
    }
    open.push(block.bytes);
    openBytes += block.bytes.length;
    if (open.length > 1 && openBytes < enough && openBytes <= maxBytes) continue;
    const records = rowsOf(open.length === 1 ? block.bytes : Buffer.concat(open), block.end - openBytes);
    if (records.length > 0) yield records;
    if (openBytes > maxBytes) throw neverClosed(unit, line, maxBytes);
  }
  if (openBytes > 0) {
    const records = rowsOf(Buffer.concat(open), end - openBytes);
    if (records.length > 0) yield records;
    if (openBytes > 0) throw neverClosed(unit, line, undefined);
  }
}

/** Where the quotes go wrong, nobody can tell where the next row begins. */
function neverClosed(unit: SourceUnit, line: number, within: number | undefined): AnnealError {
  const at = `${unit.location}:${line}`;
  return new AnnealError(
    'data_syntax',
    `${at} opens a quote that ${within === undefined ? 'the file never closes' : `is not closed within ${formatBytes(within)}`}: the rows behind it cannot be told apart.`,
    { path: at, hint: 'Close the quote; a quote within quoted text is written twice.' },
  );
}

interface SplitRow {
  fields: string[];
  problem: string | undefined;
  /** Behind its line break. */
  end: number;
  lines: number;
}

/** The columns of a file, and its rows by them. */
class Table {
  readonly #unit: SourceUnit;
  readonly #delimiter: Buffer;
  /** Nobody has said what the delimiter is. */
  readonly #guessed: boolean;
  #columns: string[] | undefined;

  constructor(unit: SourceUnit, settings: SourceSettings) {
    this.#unit = unit;
    this.#delimiter = Buffer.from(settings.delimiter ?? (unit.format === 'tsv' ? '\t' : ','));
    this.#guessed = settings.delimiter === undefined;
    if (settings.columns !== undefined) this.#setColumns(settings.columns, 1);
  }

  /** The fields of the row that begins at `start`; undefined where a quote is still open at the end. */
  split(bytes: Buffer, start: number): SplitRow | undefined {
    const first = this.#delimiter[0]!;
    const fields: string[] = [];
    let problem: string | undefined;
    let lines = 1;
    for (let at = start; ; ) {
      let text: string | undefined;
      if (bytes[at] === QUOTE) {
        let doubled = false;
        let close = bytes.indexOf(QUOTE, at + 1);
        while (close >= 0 && bytes[close + 1] === QUOTE) {
          doubled = true;
          close = bytes.indexOf(QUOTE, close + 2);
        }
        if (close < 0) return undefined;
        for (let i = bytes.indexOf(NEWLINE, at); i >= 0 && i < close; i = bytes.indexOf(NEWLINE, i + 1)) {
          lines += 1;
        }
        text = bytes.toString('utf8', at + 1, close);
        if (doubled) text = text.replaceAll('""', '"');
        at = close + 1;
      }
      let stop = at;
      while (
        stop < bytes.length &&
        bytes[stop] !== NEWLINE &&
        !(bytes[stop] === first && this.#delimits(bytes, stop))
      ) {
        stop += 1;
      }
      const last = stop >= bytes.length || bytes[stop] === NEWLINE;
      const end = last && stop > at && bytes[stop - 1] === RETURN ? stop - 1 : stop;
      if (text === undefined) {
        text = bytes.toString('utf8', at, end);
      } else if (end > at) {
        problem ??= `has text behind the closing quote of ${this.#name(fields.length)}`;
      }
      fields.push(text);
      if (last) return { fields, problem, end: Math.min(stop + 1, bytes.length), lines };
      at = stop + this.#delimiter.length;
    }
  }

  /** The row by its columns; nothing for the header. */
  row(
    { fields, problem }: SplitRow,
    raw: Buffer,
    line: number,
  ): { fields: Fields } | { bad: BadRow } | undefined {
    const columns = this.#columns;
    if (columns === undefined) {
      if (this.#guessed && fields.length === 1) this.#requireOneColumn(fields[0]!, line);
      this.#setColumns(fields, line);
      return undefined;
    }
    if (problem !== undefined) return { bad: badSyntax(raw, problem, HINT) };
    if (fields.length !== columns.length) {
      return {
        bad: badSyntax(
          raw,
          `has ${fields.length} ${fields.length === 1 ? 'column' : 'columns'}, the header has ${columns.length}`,
          HINT,
        ),
      };
    }
    const row: Fields = {};
    for (let i = 0; i < columns.length; i++) row[columns[i]!] = fields[i];
    return { fields: row };
  }

  #delimits(bytes: Buffer, at: number): boolean {
    for (let i = 1; i < this.#delimiter.length; i++) {
      if (bytes[at + i] !== this.#delimiter[i]) return false;
    }
    return true;
  }

  #name(column: number): string {
    return this.#columns?.[column] ?? `column ${column + 1}`;
  }

  /** A header in one piece with what other tables have between their columns: every row would be misread. */
  #requireOneColumn(name: string, line: number): void {
    const other = /[;\t|,]/.exec(name)?.[0];
    if (other === undefined) return;
    const at = `${this.#unit.location}:${line}`;
    throw new AnnealError('data_field', `${at} names one column only, ${JSON.stringify(name)}.`, {
      path: at,
      hint: `Set delimiter: ${JSON.stringify(other)}, or, if it is one column, delimiter: ${JSON.stringify(this.#delimiter.toString())}.`,
    });
  }

  #setColumns(names: readonly string[], line: number): void {
    const columns = names.map((name) => name.trim());
    const twice = columns.find((name, i) => columns.indexOf(name) < i);
    if (twice !== undefined || columns.includes('__proto__')) {
      const at = `${this.#unit.location}:${line}`;
      throw new AnnealError(
        'data_field',
        twice === undefined
          ? `${at}: no column can be named __proto__.`
          : `${at} names column ${JSON.stringify(twice)} twice.`,
        { path: at, hint: 'Give each column a name of its own, or name them all with columns.' },
      );
    }
    this.#columns = columns;
  }
}
