/** gzip and zstd: told by the first bytes, undone in a stream whose memory is bounded. */
import { Readable, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { AnnealError } from '../../../proto/errors.ts';
import { zstdFrames } from './zstd_frames.ts';

export type Compression = 'none' | 'gzip' | 'zstd';

/** Bytes of a file's beginning that tell its compression. */
export const MAGIC_BYTES = 4;

export function compressionOf(head: Buffer): Compression {
  if (head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  if (head.length >= 4 && head.readUInt32LE(0) === 0xfd2fb528) return 'zstd';
  return 'none';
}

const CHUNK_BYTES = 1 << 18;

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
};

/** The content of a compressed stream; damage is an error that names `location`. */
export async function* decompress(
  chunks: AsyncIterable<Buffer>,
  compression: Exclude<Compression, 'none'>,
  location: string,
): AsyncGenerator<Buffer> {
  try {
    yield* DECOMPRESSORS[compression](chunks);
  } catch (error) {
    throw decompressionError(error, location, compression);
  }
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
  if (!code.startsWith('Z_') && !code.startsWith('ZSTD_') && code !== 'ERR_STREAM_PREMATURE_CLOSE')
    return error;
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
