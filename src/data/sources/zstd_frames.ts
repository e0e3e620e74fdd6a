/**
 * The borders of zstd frames (RFC 8878, section 3.1). Files are often several frames end to end, made in parallel
 * or appended to, and Node's decompressor stops behind the first one without a word.
 */
import { ByteReader } from './byte_reader.ts';

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
const RLE_BLOCK = 1;
const RESERVED_BLOCK = 3;

/** Whether a frame begins with these four bytes; pzstd puts one to be skipped before each that holds content. */
export function beginsZstdFrame(magic: number): boolean {
  return magic === MAGIC || isSkippable(magic);
}

function isSkippable(magic: number): boolean {
  return (magic & 0xfffffff0) >>> 0 === SKIPPABLE;
}

/** What the walk over the frames finds wrong; code and message as Node's own decompressor has them. */
class FrameError extends Error {
  readonly code = 'ZSTD_frames';
}

/** The frames that hold content, each as its bytes in pieces; a frame must be read before the next is asked for. */
export async function* zstdFrames(chunks: AsyncIterable<Buffer>): AsyncGenerator<AsyncGenerator<Buffer>> {
  const reader = new ByteReader(chunks);
  try {
    for (;;) {
      const magic = await reader.take(4);
      if (magic.length === 0) return;
      if (magic.length < 4) throw new FrameError('unexpected end of file');
      const value = magic.readUInt32LE(0);
      if (isSkippable(value)) {
        const length = (await exactly(reader, 4)).readUInt32LE(0);
        for (let left = length; left > 0; ) {
          const piece = await reader.some(left);
          if (piece.length === 0) throw new FrameError('unexpected end of file');
          left -= piece.length;
        }
      } else if (value === MAGIC) {
        yield frame(reader, magic);
      } else {
        throw new FrameError(`byte ${reader.position - 4} begins no frame`);
      }
    }
  } finally {
    await reader.close();
  }
}

async function* frame(reader: ByteReader, magic: Buffer): AsyncGenerator<Buffer> {
  const descriptor = await exactly(reader, 1);
  const flags = descriptor[0]!;
  const singleSegment = (flags & 0x20) !== 0;
  const contentSize = [singleSegment ? 1 : 0, 2, 4, 8][flags >> 6]!;
  const dictionary = [0, 1, 2, 4][flags & 3]!;
  const header = (singleSegment ? 0 : 1) + dictionary + contentSize;
  yield Buffer.concat([magic, descriptor, await exactly(reader, header)]);
  for (let last = false; !last; ) {
    const head = await exactly(reader, 3);
    const block = head.readUIntLE(0, 3);
    const type = (block >> 1) & 3;
    if (type === RESERVED_BLOCK) throw new FrameError(`byte ${reader.position - 3} begins no block`);
    last = (block & 1) === 1;
    yield Buffer.concat([head, await exactly(reader, type === RLE_BLOCK ? 1 : block >> 3)]);
  }
  if ((flags & 4) !== 0) yield exactly(reader, 4);
}

async function exactly(reader: ByteReader, length: number): Promise<Buffer> {
  const bytes = await reader.take(length);
  if (bytes.length < length) throw new FrameError('unexpected end of file');
  return bytes;
}
