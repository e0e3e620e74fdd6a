/**
 * Parquet, one row group at a time: the memory that reading takes is that of the largest group. Units are runs of
 * row groups, so that a file is shared out without being read.
 */
import { isUtf8 } from 'node:buffer';
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib';
import {
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
} from 'hyparquet';
import { compressors as libraryCompressors } from 'hyparquet-compressors';
import type { RandomAccess } from '../sources/bytes.ts';
import { FREE_BYTES } from '../sources/compression.ts';
import { type Range, rangesOf } from '../sources/ranges.ts';
import type { SourceSettings } from '../sources/settings.ts';
import type { Fields, RawRecord, SourceUnit } from '../sources/unit.ts';
import { badEncoding } from './bad.ts';
import { damagedContainer, requireContent } from './damaged.ts';
import { decodeLz4Block } from './lz4.ts';
import { checkPages } from './parquet_check.ts';
import { plainValue } from './plain_values.ts';

const KIND = 'Parquet file';
const GROUP_ROWS = 1024;
/** More values of a column than this in one row group are no data of ours, but would fill the memory. */
const MAX_GROUP_VALUES = 1 << 26;

/** Runs of row groups of about `unitBytes`: where each begins and ends, and its bytes. */
export async function parquetRanges(file: RandomAccess, unitBytes: number): Promise<Range[]> {
  const { row_groups: groups } = await metadataOf(file);
  return rangesOf(groups.map(groupBytes), unitBytes);
}

export async function* readParquet(
  file: RandomAccess,
  unit: SourceUnit,
  settings: SourceSettings,
): AsyncGenerator<RawRecord[]> {
  const metadata = await metadataOf(file);
  const groups = metadata.row_groups;
  const compressors = boundedCompressors(settings.max_expansion);
  let rowStart = groups.slice(0, unit.start).reduce((sum, { num_rows }) => sum + Number(num_rows), 0);
  let read = 0;
  for (const group of groups.slice(unit.start, unit.end)) {
    const rowEnd = rowStart + Number(group.num_rows);
    const bytes = groupBytes(group);
    const broken = new Set<string>();
    let rows: Fields[];
    try {
      checkSizes(group, settings.max_expansion);
      rows = await parquetReadObjects({
        file: checkingBuffer(file, group),
        metadata,
        rowStart,
        rowEnd,
        compressors,
        utf8: false,
        geoparquet: false,
        parsers: { stringFromBytes: (value: Uint8Array) => decodeText(value, broken) },
      });
    } catch (error) {
      throw damagedContainer(error, unit.location, KIND);
    }
    for (let at = 0; at < rows.length; at += GROUP_ROWS) {
      yield rows.slice(at, at + GROUP_ROWS).map((row, i) => {
        const place = {
          line: rowStart + at + i + 1,
          end: Math.min(unit.bytes, read + Math.round((bytes * (at + i + 1)) / rows.length)),
        };
        return { ...place, ...rowOf(row, broken) };
      });
    }
    read += bytes;
    rowStart = rowEnd;
  }
}

function rowOf(row: Fields, broken: ReadonlySet<string>): Pick<RawRecord, 'fields' | 'bad'> {
  const fields: Fields = {};
  for (const [name, value] of Object.entries(row)) {
    fields[name] = plainValue(value);
    if (broken.size > 0 && holds(fields[name], broken)) {
      return { bad: { ...badEncoding(Buffer.from(JSON.stringify(fields[name]))), field: name } };
    }
  }
  return { fields };
}

/** Texts that are not UTF-8 are decoded with replacements, remembered, and found again in their rows. */
function decodeText(bytes: Uint8Array | undefined, broken: Set<string>): string | undefined {
  if (bytes === undefined) return undefined;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
  if (text.includes('\ufffd') && !isUtf8(bytes)) broken.add(text);
  return text;
}

function holds(value: unknown, texts: ReadonlySet<string>): boolean {
  if (typeof value === 'string') return texts.has(value);
  return (
    value !== null && typeof value === 'object' && Object.values(value).some((item) => holds(item, texts))
  );
}

async function metadataOf(file: RandomAccess): Promise<FileMetaData> {
  requireContent(file, KIND);
  try {
    const metadata = await parquetMetadataAsync(asyncBuffer(file), { geoparquet: false });
    for (const { num_rows: rows } of metadata.row_groups) {
      if (rows < 0n || rows > BigInt(MAX_GROUP_VALUES))
        throw new Error(`a row group says it has ${rows} rows`);
    }
    return metadata;
  } catch (error) {
    throw damagedContainer(error, file.location, KIND);
  }
}

type RowGroup = FileMetaData['row_groups'][number];

function groupBytes(group: RowGroup): number {
  return group.columns.reduce((sum, { meta_data }) => sum + Number(meta_data?.total_compressed_size ?? 0), 0);
}

function checkSizes(group: RowGroup, maxExpansion: number): void {
  let stored = 0;
  let size = 0;
  for (const { meta_data: column } of group.columns) {
    if (column === undefined) throw new Error('a column has no metadata');
    if (column.num_values < 0n || column.num_values > BigInt(MAX_GROUP_VALUES)) {
      throw new Error(`column ${column.path_in_schema.join('.')} says it has ${column.num_values} values`);
    }
    stored += Number(column.total_compressed_size);
    size += Number(column.total_uncompressed_size);
  }
  if (size > FREE_BYTES && size > stored * maxExpansion) {
    throw new Error(`a row group of ${stored} bytes says it grows to ${size}, beyond max_expansion`);
  }
}

function asyncBuffer(file: RandomAccess): AsyncBuffer {
  return {
    byteLength: file.size,
    async slice(start, end = file.size) {
      if (!(start >= 0 && start <= end && end <= file.size))
        throw new Error(`bytes ${start} to ${end} are not in it`);
      // The memory is the chunk's own, from its first byte to its last.
      return (await file.read(start, end)).buffer as ArrayBuffer;
    },
  };
}

/** Reads column chunks of the group with a look at their pages. */
function checkingBuffer(file: RandomAccess, { columns }: RowGroup): AsyncBuffer {
  const chunks = columns.map(({ meta_data: column }) => {
    const start = Number(column!.dictionary_page_offset || column!.data_page_offset);
    return { start, end: start + Number(column!.total_compressed_size) };
  });
  const { byteLength, slice } = asyncBuffer(file);
  return {
    byteLength,
    async slice(from, to = byteLength) {
      const bytes = await slice(from, to);
      for (const { start, end } of chunks) {
        if (from <= start && start <= end && end <= to)
          checkPages(new DataView(bytes, start - from, end - start));
      }
      return bytes;
    },
  };
}

/** Node's own decompressors where there are some: faster, and they stop at the size that the page says. */
function boundedCompressors(maxExpansion: number): Compressors {
  const bounded =
    (decompress: (input: Uint8Array, length: number) => Uint8Array) =>
    (input: Uint8Array, length: number) => {
      if (length > FREE_BYTES && length > input.length * maxExpansion) {
        throw new Error(`a page of ${input.length} bytes says it grows to ${length}, beyond max_expansion`);
      }
      return decompress(input, length);
    };
  const limit = (length: number) => ({ maxOutputLength: Math.max(1, length) });
  const native = {
    GZIP: bounded((input, length) => gunzipSync(input, limit(length))),
    ZSTD: bounded((input, length) => zstdDecompressSync(input, limit(length))),
    // The library's own stumbles over blocks that end without literals, which Arrow writes.
    LZ4_RAW: bounded(decodeLz4Block),
    BROTLI: bounded((input, length) => brotliDecompressSync(input, limit(length))),
  };
  const others = Object.entries(libraryCompressors).map(([name, decompress]) => [name, bounded(decompress!)]);
  return { ...Object.fromEntries(others), ...native };
}
