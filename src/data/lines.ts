/**
 * Reading data files in pieces: decompression, UTF-8 and line borders, with bounded memory. gzip and zstd are told
 * by their first bytes, not by the file's name. Every problem is an AnnealError that names file and line.
 */
import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { AnnealError } from '../../proto/errors.ts';
import { asFileError, formatBytes } from '../util/files.ts';

/** A line without its line break (`\n` or `\r\n`). Numbers start at 1. */
export interface Line {
  number: number;
  bytes: Buffer;
  /** Bytes of the (decompressed) file up to the end of this line. */
  end: number;
}

/** The longest line or document that is read unless told otherwise. */
export const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

const CHUNK_BYTES = 1 << 18;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/**
 * The lines of a file, as UTF-8 that was checked, in groups as they come in (one await a line would take longer
 * than reading it). Throws when a line is longer than `maxBytes`.
 */
export async function* readLines(path: string, maxBytes = DEFAULT_MAX_BYTES): AsyncGenerator<Line[]> {
  let number = 0;
  let end = 0;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  /** Lines of a block that ends behind a line break, or at the end of the file. */
  const cut = (block: Buffer): Line[] => {
    const lines: Line[] = [];
    const first = number + 1;
    for (let start = 0; start < block.length; ) {
      const newline = block.indexOf(NEWLINE, start);
      const stop = newline < 0 ? block.length : newline;
      number += 1;
      if (stop - start > maxBytes) throw tooLong(path, number, maxBytes);
      lines.push({ number, bytes: trimLine(block.subarray(start, stop), number), end: end + stop + 1 });
      start = stop + 1;
    }
    end += block.length;
    if (!isUtf8(block)) {
      const bad = lines.findIndex(({ bytes }) => !isUtf8(bytes));
      throw notUtf8(path, first + bad);
    }
    return lines;
  };
  for await (const chunk of readChunks(path)) {
    const last = chunk.lastIndexOf(NEWLINE) + 1;
    if (last > 0) {
      yield cut(
        pending.length === 0 ? chunk.subarray(0, last) : Buffer.concat([...pending, chunk.subarray(0, last)]),
      );
      pending = [];
      pendingBytes = 0;
    }
    if (last < chunk.length) {
      pending.push(chunk.subarray(last));
      pendingBytes += chunk.length - last;
      if (pendingBytes > maxBytes) throw tooLong(path, number + 1, maxBytes);
    }
  }
  if (pendingBytes > 0) yield cut(Buffer.concat(pending));
}

/** The content of a file, decompressed, in chunks. */
export async function* readChunks(path: string): AsyncGenerator<Buffer> {
  const compression = await detectCompression(path);
  const file = createReadStream(path, { highWaterMark: CHUNK_BYTES });
  const stream: Readable = compression === 'none' ? file : new PassThrough({ highWaterMark: CHUNK_BYTES });
  if (compression !== 'none') {
    const decompressor =
      compression === 'gzip'
        ? createGunzip({ chunkSize: CHUNK_BYTES })
        : createZstdDecompress({ chunkSize: CHUNK_BYTES });
    // A failure also destroys `stream`, so the loop below sees it.
    pipeline(file, decompressor, stream as PassThrough).catch(() => undefined);
  }
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (error) {
    throw readError(error, path, compression);
  } finally {
    stream.destroy();
    file.destroy();
  }
}

export type Compression = 'none' | 'gzip' | 'zstd';

/** Told by the first bytes of the file. */
export async function detectCompression(path: string): Promise<Compression> {
  try {
    const handle = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0);
      if (bytesRead >= 2 && buffer[0] === 0x1f && buffer[1] === 0x8b) return 'gzip';
      if (bytesRead === 4 && buffer.readUInt32LE(0) === 0xfd2fb528) return 'zstd';
      return 'none';
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw asFileError(error, path);
  }
}

function readError(error: unknown, path: string, compression: Compression): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (
    compression !== 'none' &&
    (code.startsWith('Z_') || code.startsWith('ZSTD_') || code === 'ERR_STREAM_PREMATURE_CLOSE')
  ) {
    return new AnnealError(
      'file_unreadable',
      `${path} is damaged or cut short: its ${compression} data ends or breaks early (${(error as Error).message}).`,
      { path, hint: `Fetch or make the file again; \`${compression} -t\` checks one.`, cause: error },
    );
  }
  return asFileError(error, path);
}

/** Without `\r` at its end and, in the first line, the byte order mark. */
function trimLine(bytes: Buffer, number: number): Buffer {
  const line = bytes.at(-1) === RETURN ? bytes.subarray(0, -1) : bytes;
  return number === 1 && line.subarray(0, 3).equals(BYTE_ORDER_MARK) ? line.subarray(3) : line;
}

function notUtf8(path: string, number: number): AnnealError {
  const at = `${path}:${number}`;
  return new AnnealError('data_encoding', `${at} is not UTF-8.`, {
    path: at,
    hint: 'Convert the file, for example with `iconv -f latin1 -t utf-8`.',
  });
}

function tooLong(path: string, number: number, maxBytes: number): AnnealError {
  const at = `${path}:${number}`;
  return new AnnealError('data_syntax', `${at} is longer than ${formatBytes(maxBytes)}.`, {
    path: at,
    hint: 'Break the text into documents: JSONL with a row each, or text files by paragraph.',
  });
}
