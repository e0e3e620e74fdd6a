/**
 * JSON files: a list of objects, an object that holds such a list (other members are passed over), or objects one
 * after the other, which are rows themselves. Rows are cut out of the stream by their brackets and parsed one by
 * one, so that a list of any size takes the memory of a row.
 */
import { isUtf8 } from 'node:buffer';
import { AnnealError } from '../../../proto/errors.ts';
import type { Content } from '../sources/bytes.ts';
import type { SourceSettings } from '../sources/settings.ts';
import type { RawRecord, SourceUnit } from '../sources/unit.ts';
import { badEncoding, badSyntax, tooLong } from './bad.ts';
import { type JsonPiece, JsonSplitter } from './json_splitter.ts';
import { parseObject } from './jsonl.ts';

const HINT = 'A JSON file is a list of objects, or an object that holds such a list.';

/** Members of an object that are lists of objects in a row of its own: such an object is a row. */
const ROW_LISTS: ReadonlySet<string> = new Set([
  'messages',
  'conversations',
  'conversation',
  'prompt',
  'completion',
  'chosen',
  'rejected',
  'responses',
  'completions',
  'tools',
  'functions',
  'dialog',
  'dialogue',
]);

export async function* readJson(
  content: Content,
  unit: SourceUnit,
  settings: SourceSettings,
): AsyncGenerator<RawRecord[]> {
  const { max_document_bytes: maxBytes, rows_field: rowsField } = settings;
  const isRows = (member: string): boolean =>
    rowsField === undefined ? !ROW_LISTS.has(member) : member === rowsField;
  const splitter = new JsonSplitter(isRows, maxBytes);
  let line = 0;
  const toRecords = (pieces: JsonPiece[]): RawRecord[] =>
    pieces.map(({ bytes, length, end }) => {
      line += 1;
      const record = { line, end: content.progress(end) };
      if (length > maxBytes) return { ...record, bad: tooLong(bytes, length, 'a row') };
      if (!isUtf8(bytes)) return { ...record, bad: badEncoding(bytes) };
      const first = bytes[0];
      if (first !== 0x7b) return { ...record, bad: badSyntax(bytes, 'is not a JSON object', HINT) };
      return { ...record, ...parseObject(bytes, HINT) };
    });
  const check = (): void => {
    if (splitter.problem === undefined) return;
    const at = `${unit.location}:${line + 1}`;
    throw new AnnealError('data_syntax', `${at}: ${splitter.problem}.`, { path: at, hint: HINT });
  };
  for await (const chunk of content.chunks) {
    const records = toRecords(splitter.take(chunk));
    if (records.length > 0) yield records;
    check();
  }
  splitter.finish();
  check();
  if (rowsField !== undefined && splitter.rowLists.length === 0 && splitter.objects > 0) {
    throw new AnnealError('data_field', `${unit.location} has no list ${rowsField}.`, {
      path: `${unit.location}:${rowsField}`,
      hint: `It has ${splitter.members.join(', ') || 'no members'}: rows_field names the one with the rows.`,
    });
  }
  if (splitter.rowLists.length > 1) {
    const names = splitter.rowLists.join(', ');
    throw new AnnealError('data_field', `${unit.location} has several lists of objects: ${names}.`, {
      path: unit.location,
      hint: 'Say which one holds the rows, with rows_field.',
    });
  }
}
