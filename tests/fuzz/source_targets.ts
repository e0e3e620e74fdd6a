/** Targets of what reads sources: formats, compressions, files with an index, archives. */
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { arrowRanges, readArrow } from '../../src/data/formats/arrow.ts';
import { parquetRanges, readParquet } from '../../src/data/formats/parquet.ts';
import type { RandomAccess } from '../../src/data/sources/bytes.ts';
import { type Compression, decompress } from '../../src/data/sources/compression.ts';
import { listUnits } from '../../src/data/sources/list.ts';
import { readUnit } from '../../src/data/sources/read.ts';
import { READERS } from '../../src/data/sources/read_here.ts';
import { type Format, sourceSettings } from '../../src/data/sources/settings.ts';
import type { RawRecord, SourceUnit } from '../../src/data/sources/unit.ts';
import { Random } from './mutate.ts';
import type { Target } from './target.ts';

export const settings = sourceSettings.parse({ max_document_bytes: 1 << 20 });

/** Chunks of an input are a few hundred at most: borders anywhere, without an await for every other byte of 64 kB. */
const MAX_CHUNKS = 100;

/** Bytes in chunks whose borders follow from the number. */
export async function* chunksOf(bytes: Buffer, number: number): AsyncGenerator<Buffer> {
  const random = new Random(7, number);
  const largest = Math.max(random.pick([3, 50, 1 << 20]), Math.ceil(bytes.length / MAX_CHUNKS));
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + random.below(largest);
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

export function unitOf(format: Format, bytes: Buffer): SourceUnit {
  const size = bytes.length;
  return {
    location: 'input',
    path: 'input',
    format,
    compression: 'none',
    start: 0,
    bytes: size,
    file: { bytes: size, modified: 0 },
  };
}

/** Content of records, which must be of a kind that consumers take. */
function contentBytes(records: readonly RawRecord[]): number {
  let bytes = 0;
  for (const { text, fields, bad, line } of records) {
    if (!(line >= 0)) throw new Error(`a record is at line ${line}`);
    if (text === undefined && fields === undefined && bad === undefined)
      throw new Error('a record holds nothing');
    bytes += text?.length ?? 0;
    if (bad !== undefined) bytes += bad.excerpt.length + bad.message.length;
    if (fields !== undefined) bytes += JSON.stringify(fields).length;
  }
  return bytes;
}

async function drain(groups: AsyncIterable<readonly RawRecord[]>): Promise<number> {
  let bytes = 0;
  for await (const group of groups) bytes += contentBytes(group);
  return bytes;
}

export function formatTarget(
  format: keyof typeof READERS,
  corpus: readonly (string | Buffer)[],
  words: readonly string[],
  extra: object = {},
): Target {
  const own = { ...settings, ...extra };
  return {
    corpus: corpus.map((item) => Buffer.from(item as string)),
    words,
    run: (bytes, number) => {
      const content = { chunks: chunksOf(bytes, number), offset: 0, progress: (end: number) => end };
      return drain(READERS[format](content, unitOf(format, bytes), own));
    },
  };
}

export function compressionTarget(
  compression: Exclude<Compression, 'none'>,
  corpus: readonly Buffer[],
): Target {
  return {
    corpus,
    words: [
      '\x1f\x8b\x08\x00',
      '\x28\xb5\x2f\xfd',
      'BZh9',
      '1AY&SY',
      '\x50\x2a\x4d\x18\x04\x00\x00\x00',
      '\x00\x00\x00',
    ],
    async run(bytes, number) {
      let size = 0;
      for await (const piece of decompress(chunksOf(bytes, number), compression, 'input', 250))
        size += piece.length;
      return size;
    },
  };
}

/** Bytes as a file whose content can be had in any order. */
function fileOf(bytes: Buffer, number: number): RandomAccess {
  const read = async (start: number, end: number) =>
    Buffer.from(new Uint8Array(bytes.subarray(start, end)).buffer);
  return {
    size: bytes.length,
    location: 'input',
    read,
    chunks: (start, end) => chunksOf(bytes.subarray(start, end), number),
  };
}

/**
 * In this thread, without the one of its own that the program gives it: that an input takes as long as it likes there
 * is no reason to let it.
 */
export function parquetTarget(
  corpus: readonly Buffer[],
  words: readonly string[],
  mend: (bytes: Buffer) => Buffer,
): Target {
  return {
    corpus,
    words,
    mend,
    leavesPromises: true,
    async run(bytes, number) {
      const file = fileOf(bytes, number);
      let size = 0;
      for (const range of await parquetRanges(file, 1000)) {
        size += await drain(readParquet(file, { ...unitOf('parquet', bytes), ...range }, settings));
      }
      return size;
    },
  };
}

/** By the index, batch by batch. */
export function arrowTarget(corpus: readonly Buffer[], words: readonly string[]): Target {
  return {
    corpus,
    words,
    async run(bytes, number) {
      const file = fileOf(bytes, number);
      // Each input is a file of its own.
      const unit = { ...unitOf('arrow', bytes), path: `input ${number}` };
      let size = 0;
      for (const range of await arrowRanges(file, unit, 1)) {
        size += await drain(readArrow(file, { ...unit, ...range }, settings));
      }
      return size;
    },
  };
}

/** Archives are read from a file, as yauzl and the tar's members want one. */
export function fileTarget(
  name: string,
  corpus: readonly Buffer[],
  words: readonly string[],
  mend: (bytes: Buffer) => Buffer,
): Target {
  const path = join(tmpdir(), `anneal-fuzz-${process.pid}-${name}`);
  return {
    corpus,
    words,
    mend,
    async run(bytes) {
      writeFileSync(path, bytes);
      try {
        let size = 0;
        for (const unit of await listUnits([path], settings, '/'))
          size += await drain(readUnit(unit, settings));
        return size;
      } finally {
        // Threads of tests are ended without their exit.
        rmSync(path);
      }
    },
  };
}
