/**
 * bzip2, a block at a time with the memory of a block. Its own decoder, as the packaged ones hold whole files in
 * memory, or can be sent into an endless loop by a damaged run length.
 *
 * A block: Huffman codes of move-to-front ranks and zero runs, the Burrows-Wheeler transform of at most 900 kB, and
 * runs of equal bytes; each checked by a CRC.
 */

const BLOCK_MAGIC = 0x314159265359;
const END_MAGIC = 0x177245385090;
const GROUP_SYMBOLS = 50;
const MAX_CODE_BITS = 20;
const MAX_SELECTORS = 18002;
const FIRST_LINKS = 4096;
/** More than a block can take: 900,000 codes of 20 bits, and its tables. */
const WINDOW_BYTES = 3 << 20;

export class Bzip2Error extends Error {
  readonly code = 'BZIP2_DATA';
}

/** The content of a bzip2 stream, or of several end to end. */
export async function* bunzip2(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const bits = new BitReader();
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  const decoder = new BlockDecoder(bits);
  for await (const chunk of chunks) {
    pending.push(chunk);
    pendingBytes += chunk.length;
    if (pendingBytes < WINDOW_BYTES) continue;
    bits.refill(pending);
    pending = [];
    pendingBytes = 0;
    while (bits.bytesLeft >= WINDOW_BYTES) yield* decoder.step();
    pendingBytes = 0;
  }
  bits.refill(pending);
  while (!decoder.atEnd()) yield* decoder.step();
}

class BitReader {
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #bit = 0;

  /** Goes on with what is left and more behind it. */
  refill(more: readonly Buffer[]): void {
    this.#bytes = Buffer.concat([this.#bytes.subarray(this.#at), ...more]);
    this.#at = 0;
  }

  get bytesLeft(): number {
    return this.#bytes.length - this.#at;
  }

  /** Up to 24 bits. */
  read(count: number): number {
    const bytes = this.#bytes;
    let value = 0;
    let left = count;
    while (left > 0) {
      if (this.#at >= bytes.length) throw new Bzip2Error('unexpected end of file');
      const take = Math.min(left, 8 - this.#bit);
      value = (value << take) | ((bytes[this.#at]! >> (8 - this.#bit - take)) & ((1 << take) - 1));
      left -= take;
      this.#bit += take;
      if (this.#bit === 8) {
        this.#bit = 0;
        this.#at += 1;
      }
    }
    return value;
  }

  read32(): number {
    return ((this.read(16) << 16) | this.read(16)) >>> 0;
  }

  read48(): number {
    return this.read(24) * 2 ** 24 + this.read(24);
  }

  align(): void {
    if (this.#bit > 0) this.#at += 1;
    this.#bit = 0;
  }
}

/** Code lengths as a table of the first code and the symbols of each length. */
interface Code {
  minBits: number;
  maxBits: number;
  /** The largest code of a length, and what takes a code of it to its place in `symbols`. */
  limit: Int32Array;
  base: Int32Array;
  symbols: Uint16Array;
}

class BlockDecoder {
  readonly #bits: BitReader;
  /** Of the stream that is open; 0 between streams. */
  #blockBytes = 0;
  #streams = 0;
  #crc = 0;
  #links: Uint32Array = new Uint32Array(0);

  constructor(bits: BitReader) {
    this.#bits = bits;
  }

  /** Nothing is left; what follows a whole stream and is none itself is passed over, as bzip2 does. */
  atEnd(): boolean {
    return this.#blockBytes === 0 && this.#streams > 0 && this.#bits.bytesLeft < 4;
  }

  /** A stream's header, a block, or a stream's end. */
  *step(): Generator<Buffer> {
    const bits = this.#bits;
    if (this.#blockBytes === 0) {
      const level = bits.read(24) === 0x425a68 ? bits.read(8) - 0x30 : 0;
      if (level < 1 || level > 9) throw new Bzip2Error('it begins no bzip2 stream');
      this.#blockBytes = level * 100_000;
      this.#streams += 1;
      this.#crc = 0;
      return;
    }
    const magic = bits.read48();
    const expected = bits.read32();
    if (magic === END_MAGIC) {
      if (expected !== this.#crc) throw new Bzip2Error('the checksum of a stream differs');
      bits.align();
      this.#blockBytes = 0;
      return;
    }
    if (magic !== BLOCK_MAGIC) throw new Bzip2Error('a block does not begin as one');
    let crc = 0xffffffff;
    for (const piece of this.#block()) {
      crc = crcOf(piece, crc);
      yield piece;
    }
    if (~crc >>> 0 !== expected) throw new Bzip2Error('the checksum of a block differs');
    this.#crc = (((this.#crc << 1) | (this.#crc >>> 31)) ^ expected) >>> 0;
  }

  *#block(): Generator<Buffer> {
    const bits = this.#bits;
    if (bits.read(1) === 1) throw new Bzip2Error('a block is of an obsolete kind');
    const origin = bits.read(24);
    const alphabet = readAlphabet(bits);
    const symbols = alphabet.length + 2;
    const numCodes = bits.read(3);
    const numSelectors = bits.read(15);
    if (alphabet.length === 0 || numCodes < 2 || numCodes > 6 || numSelectors === 0) {
      throw new Bzip2Error('the tables of a block make no sense');
    }
    const selectors = readSelectors(bits, numCodes, numSelectors);
    const codes = Array.from({ length: numCodes }, () => readCode(bits, symbols));
    const counts = new Uint32Array(256);
    const length = this.#ranks(alphabet, selectors, codes, counts);
    if (origin >= length) throw new Bzip2Error('a block begins outside of itself');
    yield* this.#untransform(origin, length, counts);
  }

  /** Decodes the block's bytes in the transform's order into `#links`; returns how many there are. */
  #ranks(alphabet: Uint8Array, selectors: Uint8Array, codes: readonly Code[], counts: Uint32Array): number {
    let links = this.#links;
    const end = alphabet.length + 1;
    const ranks = Uint8Array.from(alphabet);
    let length = 0;
    let run = 0;
    let runBit = 1;
    for (let i = 0; ; i++) {
      const group = Math.floor(i / GROUP_SYMBOLS);
      if (group >= selectors.length) throw new Bzip2Error('a block has more codes than tables');
      const symbol = readSymbol(this.#bits, codes[selectors[group]!]!);
      if (symbol < 2) {
        run += runBit << symbol;
        runBit <<= 1;
        if (run > this.#blockBytes) throw new Bzip2Error('a run is longer than its block');
        continue;
      }
      if (run > 0) {
        if (length + run > this.#blockBytes) throw new Bzip2Error('a block is longer than it may be');
        if (length + run > links.length) links = this.#grown(length + run);
        links.fill(ranks[0]!, length, length + run);
        counts[ranks[0]!]! += run;
        length += run;
        run = 0;
        runBit = 1;
      }
      if (symbol === end) return length;
      if (symbol > end || length >= this.#blockBytes)
        throw new Bzip2Error('a block is longer than it may be');
      const byte = ranks[symbol - 1]!;
      ranks.copyWithin(1, 0, symbol - 1);
      ranks[0] = byte;
      counts[byte]! += 1;
      if (length === links.length) links = this.#grown(length + 1);
      links[length++] = byte;
    }
  }

  /** Room for `length` bytes of a block: small files, which archives may hold by the million, take little memory. */
  #grown(length: number): Uint32Array {
    const links = new Uint32Array(Math.min(this.#blockBytes, Math.max(FIRST_LINKS, 2 * length)));
    links.set(this.#links);
    this.#links = links;
    return links;
  }

  /** Follows the transform back from its origin and repeats the runs, in pieces of bounded size. */
  *#untransform(origin: number, length: number, counts: Uint32Array): Generator<Buffer> {
    const links = this.#links;
    let sum = 0;
    for (let i = 0; i < 256; i++) {
      const count = counts[i]!;
      counts[i] = sum;
      sum += count;
    }
    for (let i = 0; i < length; i++) links[counts[links[i]! & 0xff]!++]! |= i << 8;
    const pieceBytes = 1 << 18;
    let piece = Buffer.allocUnsafe(pieceBytes + 256);
    let filled = 0;
    let last = -1;
    let equal = 0;
    for (let i = 0, at = links[origin]! >>> 8; i < length; i++) {
      const link = links[at]!;
      const byte = link & 0xff;
      at = link >>> 8;
      if (equal === 4) {
        piece.fill(last, filled, filled + byte);
        filled += byte;
        equal = 0;
        last = -1;
      } else {
        equal = byte === last ? equal + 1 : 1;
        last = byte;
        piece[filled++] = byte;
      }
      if (filled >= pieceBytes) {
        yield piece.subarray(0, filled);
        piece = Buffer.allocUnsafe(pieceBytes + 256);
        filled = 0;
      }
    }
    if (filled > 0) yield piece.subarray(0, filled);
  }
}

/** The bytes that occur in a block, in two levels of bit maps. */
function readAlphabet(bits: BitReader): Uint8Array {
  const rows = bits.read(16);
  const bytes: number[] = [];
  for (let row = 0; row < 16; row++) {
    if ((rows & (0x8000 >> row)) === 0) continue;
    const columns = bits.read(16);
    for (let i = 0; i < 16; i++) if ((columns & (0x8000 >> i)) !== 0) bytes.push(16 * row + i);
  }
  return Uint8Array.from(bytes);
}

/** Which code each 50 symbols have, as move-to-front ranks in unary. */
function readSelectors(bits: BitReader, numCodes: number, count: number): Uint8Array {
  const order = Uint8Array.from({ length: numCodes }, (_, i) => i);
  const selectors = new Uint8Array(Math.min(count, MAX_SELECTORS));
  for (let i = 0; i < count; i++) {
    let rank = 0;
    while (bits.read(1) === 1) {
      rank += 1;
      if (rank >= numCodes) throw new Bzip2Error('a block names a code that it does not have');
    }
    const code = order[rank]!;
    order.copyWithin(1, 0, rank);
    order[0] = code;
    if (i < selectors.length) selectors[i] = code;
  }
  return selectors;
}

/** Code lengths as differences, made into a canonical code. */
function readCode(bits: BitReader, numSymbols: number): Code {
  const lengths = new Uint8Array(numSymbols);
  let bitsNow = bits.read(5);
  for (let i = 0; i < numSymbols; i++) {
    for (;;) {
      if (bitsNow < 1 || bitsNow > MAX_CODE_BITS) throw new Bzip2Error('a code is too long');
      if (bits.read(1) === 0) break;
      bitsNow += bits.read(1) === 0 ? 1 : -1;
    }
    lengths[i] = bitsNow;
  }
  const minBits = Math.min(...lengths);
  const maxBits = Math.max(...lengths);
  const symbols = new Uint16Array(numSymbols);
  const limit = new Int32Array(MAX_CODE_BITS + 1).fill(-1);
  const base = new Int32Array(MAX_CODE_BITS + 1);
  let code = 0;
  let place = 0;
  for (let length = minBits; length <= maxBits; length++) {
    base[length] = place - code;
    for (let symbol = 0; symbol < numSymbols; symbol++) {
      if (lengths[symbol] !== length) continue;
      symbols[place++] = symbol;
      code += 1;
    }
    limit[length] = code - 1;
    code <<= 1;
  }
  return { minBits, maxBits, limit, base, symbols };
}

function readSymbol(bits: BitReader, { minBits, maxBits, limit, base, symbols }: Code): number {
  let code = bits.read(minBits);
  for (let length = minBits; length <= maxBits; length++) {
    if (code <= limit[length]!) {
      const symbol = symbols[code + base[length]!];
      if (symbol === undefined) break;
      return symbol;
    }
    code = (code << 1) | bits.read(1);
  }
  throw new Bzip2Error('a code stands for nothing');
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc >>> 0;
});

function crcOf(bytes: Uint8Array, from: number): number {
  let crc = from;
  for (let i = 0; i < bytes.length; i++) crc = (crc << 8) ^ CRC_TABLE[((crc >>> 24) ^ bytes[i]!) & 0xff]!;
  return crc;
}
