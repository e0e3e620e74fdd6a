/** What a file is: told by its first bytes where they are a mark of its own, then by its name. */
import { AnnealError } from '../../../proto/errors.ts';
import type { DataFile, FilePart } from './bytes.ts';
import { type Compression, decompress } from './compression.ts';
import type { Format, SourceSettings } from './settings.ts';

/** Bytes of a file's beginning that tell what it is. */
export const HEAD_BYTES = 512;

const BY_NAME: ReadonlyMap<string, Format> = new Map([
  ['txt', 'text'],
  ['text', 'text'],
  ['jsonl', 'jsonl'],
  ['ndjson', 'jsonl'],
  ['json', 'json'],
  ['csv', 'csv'],
  ['tsv', 'tsv'],
  ['tab', 'tsv'],
  ['parquet', 'parquet'],
  ['pq', 'parquet'],
  ['arrow', 'arrow'],
  ['arrows', 'arrow'],
  ['feather', 'arrow'],
  ['ipc', 'arrow'],
  ['md', 'markdown'],
  ['markdown', 'markdown'],
  ['html', 'html'],
  ['htm', 'html'],
  ['xhtml', 'html'],
  ['warc', 'warc'],
  ['wet', 'warc'],
]);
const COMPRESSED = /\.(?:gz|gzip|zst|zstd|bz2)$/i;
const ARCHIVE = /\.(?:tar|tgz|tbz2?|tzst|zip)$/i;

/** Whether a file in a folder or archive is taken for data by its name. */
export function isKnownName(name: string): boolean {
  const base = name.split('/').at(-1)!;
  if (base.startsWith('.')) return false;
  const inner = base.replace(COMPRESSED, '');
  return ARCHIVE.test(inner) || BY_NAME.has(extension(inner));
}

function extension(name: string): string {
  return name.slice(name.lastIndexOf('.') + 1).toLowerCase();
}

/** Whether a file says by its name that it is an archive, whatever it holds. */
export function isArchiveName(name: string): boolean {
  return ARCHIVE.test(fileName(name).replace(COMPRESSED, ''));
}

function fileName(location: string): string {
  return /^https?:/i.test(location) ? location.replace(/[?#].*$/, '') : location;
}

/** The format of content: of a file, or where nothing is at hand yet of what has this name. */
export async function formatOf(
  content: DataFile | FilePart | undefined,
  head: Buffer | undefined,
  compression: Compression,
  name: string,
  settings: SourceSettings,
): Promise<Format> {
  const inner = fileName(name).replace(COMPRESSED, '');
  if (ARCHIVE.test(inner)) {
    throw new AnnealError('file_unreadable', `${name} is an archive within an archive.`, {
      path: name,
      hint: 'Unpack the outer archive.',
    });
  }
  const named = settings.format === 'auto' ? (BY_NAME.get(extension(inner)) ?? 'text') : settings.format;
  if (content === undefined || head === undefined) return named;
  const inside =
    compression === 'none' ? head : await innerHead(content, compression, name, settings.max_expansion);
  const marked = settings.format === 'auto' ? formatByMark(inside) : undefined;
  if (marked === undefined) refuseUnread(inside, name, named);
  return marked ?? named;
}

export function formatByMark(head: Buffer): Format | undefined {
  const text = head.toString('latin1', 0, 8);
  if (text.startsWith('PAR1')) return 'parquet';
  if (text.startsWith('ARROW1')) return 'arrow';
  return text.startsWith('WARC/') ? 'warc' : undefined;
}

const UTF_16 = 'UTF-16, not UTF-8';

/** First bytes of what people have and nothing here reads. */
const UNREAD: readonly { marks: readonly string[]; what: string; hint: string }[] = [
  {
    marks: ['\xfd7zXZ\0'],
    what: 'compressed by xz',
    hint: 'Unpack it with `xz -dk`; gzip, zstd and bzip2 are read.',
  },
  {
    marks: ['\x04\x22\x4d\x18'],
    what: 'compressed by lz4',
    hint: 'Unpack it with `lz4 -dk`; gzip, zstd and bzip2 are read.',
  },
  {
    marks: ['7z\xbc\xaf\x27\x1c', 'Rar!\x1a\x07'],
    what: 'an archive of another kind',
    hint: 'Unpack it; tar and zip are read.',
  },
  { marks: ['%PDF-'], what: 'a PDF', hint: 'Take the text out, for example with `pdftotext`.' },
  {
    marks: ['\xff\xfe', '\xfe\xff'],
    what: UTF_16,
    hint: 'Convert it with `iconv -f utf-16 -t utf-8`.',
  },
];

/** Pages of UTF-16 are read. */
function refuseUnread(head: Buffer, name: string, format: Format): void {
  const begin = head.toString('latin1', 0, 8);
  const found = UNREAD.find(({ marks }) => marks.some((mark) => begin.startsWith(mark)));
  if (found === undefined || (found.what === UTF_16 && format === 'html')) return;
  throw new AnnealError('file_unreadable', `${name} is ${found.what}.`, { path: name, hint: found.hint });
}

/** Whether a file is an archive, and of which kind. */
export async function archiveOf(
  file: DataFile,
  head: Buffer,
  compression: Compression,
  name: string,
  maxExpansion: number,
): Promise<'tar' | 'zip' | undefined> {
  if (compression === 'none') {
    const mark = head.toString('latin1', 0, 4);
    // An empty zip is its end alone.
    if (mark === 'PK\x03\x04' || mark === 'PK\x05\x06') return 'zip';
    return isTar(head) ? 'tar' : undefined;
  }
  return isTar(await innerHead(file, compression, name, maxExpansion)) ? 'tar' : undefined;
}

function isTar(head: Buffer): boolean {
  return head.length >= 262 && head.toString('latin1', 257, 262) === 'ustar';
}

/** The first bytes of compressed content; fewer where it is damaged, which is for its reader to say. */
async function innerHead(
  file: DataFile | FilePart,
  compression: Exclude<Compression, 'none'>,
  location: string,
  maxExpansion: number,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  try {
    for await (const piece of decompress(file.chunks(), compression, location, maxExpansion)) {
      pieces.push(piece);
      length += piece.length;
      if (length >= HEAD_BYTES) break;
    }
  } catch {
    return Buffer.concat(pieces);
  }
  return Buffer.concat(pieces);
}
