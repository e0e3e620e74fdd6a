/** gzip, zstd and bzip2: told by the first bytes, undone in a stream whose memory is bounded. */
import { Readable, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { AnnealError } from '../../../proto/errors.ts';
import { formatBytes } from '../../util/files.ts';
import { bunzip2 } from './bzip2.ts';
import { beginsZstdFrame, zstdFrames } from './zstd_frames.ts';

export type Compression = 'none' | 'gzip' | 'zstd' | 'bzip2';

/** Bytes of a file's beginning that tell its compression. */
export const MAGIC_BYTES = 4;

export function compressionOf(head: Buffer): Compression {
  if (head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  if (head.length >= 4 && beginsZstdFrame(head.readUInt32LE(0))) return 'zstd';
  if (head.length >= 4 && /^BZh[1-9]$/.test(head.toString('latin1', 0, 4))) return 'bzip2';
  return 'none';
}

/** Content of up to this size may have grown by any factor: it harms nobody. */
export const FREE_BYTES = 64 << 20;

const CHUNK_BYTES = 1 << 18;
const PART_BYTES = 1 << 16;

const DECOMPRESSORS: Record<
  Exclude<Compression, 'none'>,
  (chunks: AsyncIterable<Buffer>) => AsyncGenerator<Buffer>
> = {
  gzip: (chunks) => through(chunks, createGunzip({ chunkSize: CHUNK_BYTES })),
  async *zstd(chunks) {
    for await (const frame of zstdFrames(chunks)) {
      yield* through(frame, createZstdDecompress({ chunkSize: CHUNK_BYTES }));
    }
  },
  bzip2: bunzip2,
};

/**
 * The content of a compressed stream; damage is an error that names `location`. Content that grows beyond all
 * measure is refused: whoever made it wants to fill a disk. A stream that was itself decompressed says how many bytes
 * the file has that it lies in.
 */
export async function* decompress(
  chunks: AsyncIterable<Buffer>,
  compression: Exclude<Compression, 'none'>,
  location: string,
  maxExpansion: number,
  fileBytes = Number.POSITIVE_INFINITY,
): AsyncGenerator<Buffer> {
  let stored = 0;
  let size = 0;
  const counted = async function* () {
    for await (const chunk of chunks) {
      // Cut up, so that what is counted is what was taken: a bomb is small.
      for (let at = 0; at < chunk.length; at += PART_BYTES) {
        const part = chunk.subarray(at, at + PART_BYTES);
        stored += part.length;
        yield part;
      }
    }
  };
  try {
    for await (const piece of DECOMPRESSORS[compression](counted())) {
      size += piece.length;
      const from = Math.min(stored, fileBytes);
      if (size > FREE_BYTES && size > from * maxExpansion) {
        throw expandsTooFar(location, from, size, maxExpansion);
      }
      yield piece;
    }
  } catch (error) {
    throw decompressionError(error, location, compression);
  }
}

/** The error of data that grows too much. */
export function expandsTooFar(
  location: string,
  stored: number,
  size: number,
  maxExpansion: number,
): AnnealError {
  return new AnnealError(
    'file_unreadable',
    `${location} grows beyond measure: ${formatBytes(stored)} of it gave ${formatBytes(size)} and more.`,
    { path: location, hint: `If it is what you want to read, raise max_expansion (now ${maxExpansion}).` },
  );
}

async function* through(chunks: AsyncIterable<Buffer>, stream: Transform): AsyncGenerator<Buffer> {
  // A failure also destroys `stream`, so the loop below sees it.
  pipeline(Readable.from(chunks), stream).catch(() => undefined);
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } finally {
    stream.destroy();
  }
}

function decompressionError(error: unknown, location: string, compression: Compression): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (!/^(?:Z_|ZSTD_|BZIP2_|ERR_STREAM_PREMATURE_CLOSE)/.test(code)) return error;
  return new AnnealError(
    'file_unreadable',
    `${location} is damaged or cut short: its ${compression} data ends or breaks early (${(error as Error).message}).`,
    {
      path: location,
      hint: `Fetch or make the file again; \`${compression} -t\` checks one.`,
      cause: error,
    },
  );
}
