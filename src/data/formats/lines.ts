/**
 * Line borders in a stream of chunks, with bounded memory: blocks of whole lines, which formats of lines walk
 * through without an await or a copy a line.
 */

/** Whole lines, end to end. */
export interface LineBlock {
  /** Ends behind a line break, or at the end of the content. */
  bytes: Buffer;
  /** Where in the content it begins. */
  offset: number;
  /** A single line that is too long: `bytes` is its beginning only. */
  cut: boolean;
  /** Where in the content it ends. */
  end: number;
}

const NEWLINE = 0x0a;
/** What is kept of a line that is too long. */
const HEAD_BYTES = 1024;

/**
 * The lines of content that begins at `offset` of a larger one; the last need not end in a line break. Of a line
 * of more than `maxBytes` only the beginning is kept. A block is there until the next one is asked for, if chunks are.
 */
export async function* readLineBlocks(
  chunks: AsyncIterable<Buffer>,
  offset: number,
  maxBytes: number,
): AsyncGenerator<LineBlock> {
  /** The line that is not complete yet: its pieces, where it began, and how long it is. */
  let pieces: Buffer[] = [];
  let begin = offset;
  let length = 0;
  const pending = (): LineBlock => {
    const cut = length > maxBytes + 2;
    const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
    const block = { bytes, offset: begin, cut, end: begin + length };
    pieces = [];
    begin += length;
    length = 0;
    return block;
  };
  const add = (piece: Buffer): void => {
    if (length > maxBytes + 2) {
      length += piece.length;
      return;
    }
    length += piece.length;
    // A copy, as the chunk may be gone with the next one.
    pieces.push(Buffer.from(piece));
    if (length > maxBytes + 2) pieces = [Buffer.concat(pieces).subarray(0, HEAD_BYTES)];
  };
  for await (const chunk of chunks) {
    let start = 0;
    if (length > 0) {
      const first = chunk.indexOf(NEWLINE) + 1;
      add(first === 0 ? chunk : chunk.subarray(0, first));
      if (first === 0) continue;
      yield pending();
      start = first;
    }
    const last = chunk.lastIndexOf(NEWLINE) + 1;
    if (last > start) {
      const bytes = start === 0 && last === chunk.length ? chunk : chunk.subarray(start, last);
      yield { bytes, offset: begin, cut: false, end: begin + bytes.length };
      begin += bytes.length;
      start = last;
    }
    if (start < chunk.length) add(chunk.subarray(start));
  }
  if (length > 0) yield pending();
}

/** Whether a line has nothing but white space. */
export function isBlank(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (byte !== 0x20 && (byte < 0x09 || byte > 0x0d)) return false;
  }
  return true;
}

/** Where the first line's text begins: behind a byte order mark. */
export function behindMark(bytes: Buffer): number {
  return bytes.length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
}
