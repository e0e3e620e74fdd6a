/**
 * WARC and WET (ISO 28500), as crawls are kept: the text of `conversion` records as it stands, that of HTML and
 * plain text in `response` records. Each has the page's `url` and `date` in its fields; other records are passed
 * over. Records are numbered from 1, also those that give nothing.
 */
import { isUtf8 } from 'node:buffer';
import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib';
import { AnnealError } from '../../../proto/errors.ts';
import { ByteReader } from '../sources/byte_reader.ts';
import type { Content } from '../sources/bytes.ts';
import type { SourceSettings } from '../sources/settings.ts';
import type { Fields, RawRecord, SourceUnit } from '../sources/unit.ts';
import { badEncoding, badSyntax, tooLong } from './bad.ts';
import { htmlContent } from './pages.ts';

const MAX_HEADER_BYTES = 1 << 16;
const HINT = 'A page is served as HTTP/1 says.';
/** Records are given in groups of about this size. */
const GROUP_BYTES = 1 << 20;

type Headers = ReadonlyMap<string, string>;

export async function* readWarc(
  content: Content,
  unit: SourceUnit,
  settings: SourceSettings,
): AsyncGenerator<RawRecord[]> {
  const reader = new ByteReader(content.chunks);
  let group: RawRecord[] = [];
  let groupBytes = 0;
  try {
    for (let line = 1; ; line++) {
      const headers = await readHeader(reader, unit, line);
      if (headers === undefined) break;
      const length = contentLength(headers, unit, line);
      const wanted = isWanted(headers);
      const kept = Math.min(length, wanted ? settings.max_document_bytes : 0);
      const body = await reader.take(kept);
      const skipped = await skip(reader, length - kept);
      if (body.length + skipped < length) throw damaged(unit, line, 'the file ends within it');
      if (!wanted) continue;
      const record = { line, end: content.progress(reader.position) };
      if (skipped > 0) {
        group.push({ ...record, bad: tooLong(body, length, 'a record') });
      } else {
        const page = pageOf(headers, body, settings.max_document_bytes);
        if (page !== undefined) group.push({ ...record, ...page });
      }
      groupBytes += body.length;
      if (groupBytes >= GROUP_BYTES) {
        if (group.length > 0) yield group;
        group = [];
        groupBytes = 0;
      }
    }
    if (group.length > 0) yield group;
  } finally {
    await reader.close();
  }
}

/** The named fields of the next record; undefined at the end of the file. */
async function readHeader(reader: ByteReader, unit: SourceUnit, line: number): Promise<Headers | undefined> {
  let header = '';
  for (;;) {
    const text = await readLine(reader);
    if (text === undefined) {
      if (header === '') return undefined;
      throw damaged(unit, line, 'the file ends within its header');
    }
    // Empty lines close the record before.
    if (text === '' && header === '') continue;
    if (text === '') break;
    if (header === '' && !text.startsWith('WARC/'))
      throw damaged(unit, line, 'it does not begin with `WARC/`');
    header += `${text}\n`;
    if (header.length > MAX_HEADER_BYTES) throw damaged(unit, line, 'its header is longer than 64 kB');
  }
  return parseHeaders(header);
}

/** A line without its break; undefined at the end of the content. */
async function readLine(reader: ByteReader): Promise<string | undefined> {
  const pieces: Buffer[] = [];
  let length = 0;
  while (length <= MAX_HEADER_BYTES) {
    const piece = await reader.some(256);
    if (piece.length === 0) {
      if (length === 0) return undefined;
      break;
    }
    const newline = piece.indexOf(0x0a);
    if (newline >= 0) {
      reader.putBack(piece.length - newline - 1);
      pieces.push(piece.subarray(0, newline));
      break;
    }
    pieces.push(piece);
    length += piece.length;
  }
  return Buffer.concat(pieces).toString().replace(/\r$/, '');
}

async function skip(reader: ByteReader, length: number): Promise<number> {
  let left = length;
  while (left > 0) {
    const piece = await reader.some(left);
    if (piece.length === 0) break;
    left -= piece.length;
  }
  return length - left;
}

function parseHeaders(text: string): Headers {
  const headers = new Map<string, string>();
  for (const line of text.split('\n').slice(1)) {
    const colon = line.indexOf(':');
    if (colon > 0) headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  return headers;
}

function contentLength(headers: Headers, unit: SourceUnit, line: number): number {
  const value = headers.get('content-length') ?? '';
  if (!/^\d{1,15}$/.test(value)) throw damaged(unit, line, 'it does not say how long it is');
  return Number(value);
}

function isWanted(headers: Headers): boolean {
  const type = headers.get('warc-type');
  const content = (headers.get('content-type') ?? '').toLowerCase();
  if (type === 'conversion') return content === '' || content.startsWith('text/plain');
  return type === 'response' && content.startsWith('application/http');
}

/** Text and fields of a record, nothing where it holds no text. */
function pageOf(headers: Headers, body: Buffer, maxBytes: number): Partial<RawRecord> | undefined {
  const known: Fields = {};
  for (const [field, header] of [
    ['url', 'warc-target-uri'],
    ['date', 'warc-date'],
    ['language', 'warc-identified-content-language'],
  ] as const) {
    const value = headers.get(header);
    if (value !== undefined) known[field] = value.replace(/^<|>$/g, '');
  }
  if (headers.get('warc-type') === 'conversion') return plainText(body, known);
  const border = body.indexOf('\r\n\r\n');
  const head = border < 0 ? '' : body.toString('latin1', 0, border).replaceAll('\r\n', '\n');
  const status = /^HTTP\/[\d.]+ (\d{3})/.exec(head)?.[1];
  if (status === undefined) return { bad: badSyntax(body, 'holds no HTTP response', HINT) };
  if (status !== '200') return undefined;
  const http = parseHeaders(head);
  const type = (http.get('content-type') ?? 'text/html').toLowerCase();
  const isHtml = /^(?:text\/html|application\/xhtml\+xml)\b/.test(type);
  if (!isHtml && !type.startsWith('text/plain')) return undefined;
  let page: Buffer;
  try {
    page = decoded(body.subarray(border + 4), http, maxBytes);
  } catch (error) {
    return { bad: badSyntax(body, `cannot be decoded: ${(error as Error).message}`, HINT) };
  }
  if (!isHtml) return plainText(page, known);
  return htmlContent(page, /charset\s*=\s*["']?([^\s"';]+)/.exec(type)?.[1], known);
}

function plainText(bytes: Buffer, fields: Fields): Partial<RawRecord> | undefined {
  if (!isUtf8(bytes)) return { bad: badEncoding(bytes) };
  const text = bytes.toString().replaceAll('\r\n', '\n').trim();
  return text === '' ? undefined : { text: Buffer.from(text), fields };
}

/** Undoes the transfer and content encodings. Crawlers may have undone them already and left the headers. */
function decoded(body: Buffer, http: Headers, maxBytes: number): Buffer {
  const chunked = /\bchunked\b/i.test(http.get('transfer-encoding') ?? '');
  const whole = chunked ? (unchunked(body) ?? body) : body;
  const limit = { maxOutputLength: maxBytes };
  const encoding = (http.get('content-encoding') ?? '').toLowerCase();
  if (encoding.includes('gzip') && whole[0] === 0x1f && whole[1] === 0x8b) return gunzipSync(whole, limit);
  if (encoding.includes('deflate') && (whole[0]! & 0x0f) === 8) return inflateSync(whole, limit);
  if (encoding.includes('br') && !isUtf8(whole)) return brotliDecompressSync(whole, limit);
  return whole;
}

function unchunked(body: Buffer): Buffer | undefined {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const newline = body.indexOf('\r\n', at);
    const size =
      newline < 0 || newline - at > 100
        ? undefined
        : /^[0-9a-f]{1,8}/i.exec(body.toString('latin1', at, newline));
    if (!size) return undefined;
    const length = Number.parseInt(size[0], 16);
    if (length === 0) return Buffer.concat(chunks);
    chunks.push(body.subarray(newline + 2, newline + 2 + length));
    at = newline + 2 + length + 2;
  }
}

function damaged(unit: SourceUnit, line: number, problem: string): AnnealError {
  const at = `${unit.location}:${line}`;
  return new AnnealError('file_unreadable', `${at} is no whole WARC record: ${problem}.`, {
    path: at,
    hint: 'Fetch the file again.',
  });
}
