/**
 * Data files as rows: text (by document, paragraph or line) and JSONL with `text`, `messages`, or `prompt` and
 * `completion`. A row that does not fit is an AnnealError with file, line and field.
 */
import { stat } from 'node:fs/promises';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { ChatMessage } from '../tokenizer/chat_template.ts';
import { DEFAULT_MAX_BYTES, detectCompression, readLines } from './lines.ts';

/** What a row holds. */
export type RowContent =
  | { kind: 'text'; text: Buffer }
  | { kind: 'messages'; messages: ChatMessage[] }
  | { kind: 'completion'; prompt: string; completion: string };

export interface RowPlace {
  file: string;
  /** Line that the row begins at, from 1. */
  line: number;
}

export type Row = RowPlace & {
  /** Bytes of the (decompressed) file up to the end of the row: for progress. */
  end: number;
} & RowContent;

/** How files are read: part of the settings of every stage that reads data. */
export const rowSettings = z.strictObject({
  format: z
    .enum(['auto', 'text', 'jsonl'])
    .default('auto')
    .describe(
      '`auto` goes by the name: `.jsonl` and `.ndjson` (also compressed) are JSONL, the rest is text.',
    ),
  text_unit: z
    .enum(['document', 'paragraph', 'line'])
    .default('document')
    .describe('What is one document of a text file: the whole file, text between blank lines, or a line.'),
  text_field: z.string().min(1).default('text').describe('Field of a JSONL row that holds its text.'),
  max_document_bytes: z
    .int()
    .min(1)
    .default(DEFAULT_MAX_BYTES)
    .describe('Longer lines and documents are an error.'),
});
export type RowSettings = z.output<typeof rowSettings>;

/** `file:line` of a row, as messages and ledgers name it. */
export function rowOrigin(row: RowPlace): string {
  return `${row.file}:${row.line}`;
}

/**
 * The rows of one file, in order. Blank lines of JSONL and empty documents of text are passed over; a document of
 * text has `\n` between its lines and no blank lines at its ends.
 */
export function readRows(file: string, settings: RowSettings): AsyncGenerator<Row> {
  const jsonl =
    settings.format === 'jsonl' ||
    (settings.format === 'auto' && /\.(jsonl|ndjson)(\.gz|\.zst)?$/i.test(file));
  return jsonl ? readJsonl(file, settings) : readText(file, settings);
}

/**
 * The rows of several files, in order, with the bytes read so far; `readableBytes` is what they will come to.
 */
export async function* readAllRows(
  files: readonly string[],
  settings: RowSettings,
): AsyncGenerator<{ row: Row; fileNumber: number; bytesRead: number }> {
  let before = 0;
  for (const [fileNumber, file] of files.entries()) {
    let end = 0;
    for await (const row of readRows(file, settings)) {
      end = row.end;
      yield { row, fileNumber, bytesRead: before + end };
    }
    before += end;
  }
}

/** Size of the files' content; null when one is compressed, as its content must be read to be counted. */
export async function readableBytes(files: readonly string[]): Promise<number | null> {
  let bytes = 0;
  for (const file of files) {
    if ((await detectCompression(file)) !== 'none') return null;
    bytes += (await stat(file)).size;
  }
  return bytes;
}

async function* readText(file: string, settings: RowSettings): AsyncGenerator<Row> {
  const { text_unit, max_document_bytes } = settings;
  let parts: Buffer[] = [];
  let bytes = 0;
  let first = 1;
  let end = 0;
  const document = (): Row[] => {
    while (parts.length > 0 && isBlank(parts.at(-1)!)) parts.pop();
    if (parts.length === 0) return [];
    const text = parts.length === 1 ? parts[0]! : Buffer.concat(parts.flatMap((part) => [part, LINE_BREAK]));
    const row: Row = {
      kind: 'text',
      file,
      line: first,
      end,
      text: parts.length === 1 ? text : text.subarray(0, -1),
    };
    parts = [];
    bytes = 0;
    return [row];
  };
  const tooLong = (): AnnealError =>
    new AnnealError('data_syntax', `${file}:${first}: a ${text_unit} is longer than max_document_bytes.`, {
      path: `${file}:${first}`,
      hint: 'Set text_unit to paragraph or line, or raise max_document_bytes.',
    });
  for await (const lines of readLines(file, max_document_bytes)) {
    for (const line of lines) {
      if (isBlank(line.bytes) && (text_unit !== 'document' || parts.length === 0)) {
        yield* document();
        continue;
      }
      if (parts.length === 0) first = line.number;
      parts.push(line.bytes);
      end = line.end;
      bytes += line.bytes.length + 1;
      if (bytes > max_document_bytes + 1) throw tooLong();
      if (text_unit === 'line') yield* document();
    }
  }
  yield* document();
}

const LINE_BREAK = Buffer.from('\n');

function isBlank(line: Buffer): boolean {
  for (let i = 0; i < line.length; i++) {
    const byte = line[i]!;
    if (byte !== 0x20 && (byte < 0x09 || byte > 0x0d)) return false;
  }
  return true;
}

async function* readJsonl(file: string, settings: RowSettings): AsyncGenerator<Row> {
  for await (const lines of readLines(file, settings.max_document_bytes)) {
    for (const { number, bytes, end } of lines) {
      if (isBlank(bytes)) continue;
      const place = { file, line: number };
      yield { ...place, end, ...parseRow(parseLine(bytes, place), settings.text_field, place) };
    }
  }
}

/** The JSON object of a line. */
export function parseLine(bytes: Buffer, place: RowPlace): Record<string, unknown> {
  const at = rowOrigin(place);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch (error) {
    throw new AnnealError('data_syntax', `${at} is not valid JSON: ${(error as Error).message}`, {
      path: at,
      hint: 'JSONL has one JSON object a line.',
      cause: error,
    });
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new AnnealError('data_syntax', `${at} is not a JSON object.`, {
      path: at,
      hint: 'JSONL has one JSON object a line.',
    });
  }
  return value as Record<string, unknown>;
}

function parseRow(row: Record<string, unknown>, textField: string, place: RowPlace): RowContent {
  const text = (name: string): string => {
    const value = row[name];
    if (typeof value !== 'string') throw fieldError(place, name, `must be text, is ${describe(value)}`);
    return value;
  };
  if (row.messages !== undefined) return { kind: 'messages', messages: parseMessages(row.messages, place) };
  if (row.prompt !== undefined || row.completion !== undefined) {
    return { kind: 'completion', prompt: text('prompt'), completion: text('completion') };
  }
  if (row[textField] !== undefined) return { kind: 'text', text: Buffer.from(text(textField)) };
  throw fieldError(
    place,
    textField,
    `is missing (the row has ${Object.keys(row).slice(0, 8).join(', ') || 'no fields'})`,
  );
}

function parseMessages(value: unknown, place: RowPlace): ChatMessage[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw fieldError(place, 'messages', `must be a list of messages, is ${describe(value)}`);
  }
  for (const [i, message] of (value as unknown[]).entries()) {
    const field = `messages.${i}`;
    if (message === null || typeof message !== 'object') {
      throw fieldError(place, field, `must be an object, is ${describe(message)}`);
    }
    for (const name of ['role', 'content'] as const) {
      const member = (message as Record<string, unknown>)[name];
      if (typeof member !== 'string') {
        throw fieldError(place, `${field}.${name}`, `must be text, is ${describe(member)}`);
      }
    }
  }
  return value as ChatMessage[];
}

/** What a value is, for messages. */
export function describe(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function fieldError(place: RowPlace, field: string, problem: string): AnnealError {
  const at = rowOrigin(place);
  return new AnnealError('data_field', `${at}: field ${field} ${problem}.`, {
    path: `${at}:${field}`,
    hint: 'A row has `text`, or `messages` with role and content, or `prompt` and `completion`.',
  });
}
