/** Reading a unit in this thread: opens, decompresses, and hands the content to its format. */

import type { JsonTexts } from '../../native/json_texts.ts';
import { readArrow } from '../formats/arrow.ts';
import { readCsv } from '../formats/csv.ts';
import { readJson } from '../formats/json.ts';
import { readJsonl } from '../formats/jsonl.ts';
import { readHtml, readMarkdown } from '../formats/pages.ts';
import { readParquet } from '../formats/parquet.ts';
import { readText } from '../formats/text.ts';
import { readWarc } from '../formats/warc.ts';
import { memberChunks } from './archive.ts';
import { type Content, DataFile, FilePart } from './bytes.ts';
import { compressionOf, decompress } from './compression.ts';
import type { ArchiveFile } from './member.ts';
import type { Format, SourceSettings } from './settings.ts';
import { spool } from './spool.ts';
import type { RawRecord, SourceUnit } from './unit.ts';

type ReadFormat = (
  content: Content,
  unit: SourceUnit,
  settings: SourceSettings,
  texts?: JsonTexts,
) => AsyncGenerator<RawRecord[]>;

/** Formats whose units are runs of blocks, found by an index; what comes as a stream is kept in a file meanwhile. */
const BLOCK_READERS = { parquet: readParquet, arrow: readArrow };

function isBlockFormat(format: Format): format is keyof typeof BLOCK_READERS {
  return Object.hasOwn(BLOCK_READERS, format);
}

/** Formats that are read from front to back. */
export const READERS: Record<Exclude<Format, keyof typeof BLOCK_READERS>, ReadFormat> = {
  text: readText,
  jsonl: readJsonl,
  json: readJson,
  csv: readCsv,
  tsv: readCsv,
  markdown: readMarkdown,
  html: readHtml,
  warc: readWarc,
};

/** Formats of whose chunks nothing is left when their records were taken: no text is a view of them. */
const KEEPS_NO_BYTES: ReadonlySet<Format> = new Set(['jsonl']);

/** The records of a unit in order, in groups as they come in. */
export async function* readUnitHere(
  unit: SourceUnit,
  settings: SourceSettings,
  texts?: JsonTexts,
): AsyncGenerator<RawRecord[]> {
  if (unit.archive !== undefined) {
    yield* readMember(unit, unit.archive, settings, texts);
    return;
  }
  const file = await DataFile.open(unit.path, unit.location, unit.file);
  try {
    const part = unit.within === undefined ? file : new FilePart(file, unit.within.offset, unit.within.bytes);
    const { format } = unit;
    if (unit.compression === 'none' && isBlockFormat(format))
      yield* BLOCK_READERS[format](part, unit, settings);
    else yield* readContent(openContent(part, unit, settings), unit, settings, texts);
    await file.verify();
  } finally {
    await file.close();
  }
}

async function* readContent(
  content: Content,
  unit: SourceUnit,
  settings: SourceSettings,
  texts?: JsonTexts,
): AsyncGenerator<RawRecord[]> {
  const { format } = unit;
  if (!isBlockFormat(format)) {
    yield* READERS[format](content, unit, settings, texts);
    return;
  }
  const spooled = await spool(content.chunks, unit.location);
  try {
    yield* BLOCK_READERS[format](spooled, unit, settings);
  } finally {
    await spooled.close();
  }
}

function openContent(file: DataFile | FilePart, unit: SourceUnit, settings: SourceSettings): Content {
  if (unit.compression === 'none') {
    // From the byte before a range: whether a line begins with the range is told by what stands before it.
    const offset = Math.max(0, unit.start - 1);
    return {
      chunks: file.chunks(offset, file.size, KEEPS_NO_BYTES.has(unit.format)),
      offset,
      progress: (end) => Math.max(0, Math.min(unit.bytes, end - unit.start)),
    };
  }
  const { counted, taken } = counting(file.chunks());
  return {
    chunks: decompress(counted, unit.compression, unit.location, settings.max_expansion),
    offset: 0,
    progress: () => Math.min(unit.bytes, taken()),
  };
}

/** A member that is no part of the file as it stands. */
async function* readMember(
  unit: SourceUnit,
  { kind, index, compression }: NonNullable<SourceUnit['archive']>,
  settings: SourceSettings,
  texts?: JsonTexts,
): AsyncGenerator<RawRecord[]> {
  const archive: ArchiveFile = {
    kind,
    path: unit.path,
    location: unit.location.slice(0, -`!/${unit.member}`.length),
    compression,
    file: unit.file,
    maxExpansion: settings.max_expansion,
  };
  const { counted, taken } = counting(memberChunks(archive, { name: unit.member!, index }));
  try {
    const first = await counted.next();
    const head = first.done ? Buffer.alloc(0) : first.value;
    const all = async function* () {
      yield head;
      yield* counted;
    };
    const inner = compressionOf(head);
    const chunks =
      inner === 'none'
        ? all()
        : decompress(all(), inner, unit.location, settings.max_expansion, unit.file.bytes);
    const content = { chunks, offset: 0, progress: () => Math.min(unit.bytes, taken()) };
    yield* readContent(content, unit, settings, texts);
  } finally {
    await counted.return(undefined);
  }
}

function counting(chunks: AsyncIterable<Buffer>): { counted: AsyncGenerator<Buffer>; taken: () => number } {
  let taken = 0;
  const counted = async function* () {
    for await (const chunk of chunks) {
      taken += chunk.length;
      yield chunk;
    }
  };
  return { counted: counted(), taken: () => taken };
}
