/**
 * LZ4: frames (`lz4` files, Arrow's buffers) and single blocks (Parquet's pages), whole in memory. Checksums are
 * passed over.
 */

const MAGIC = 0x184d2204;
const MIN_MATCH = 4;
/** A byte of LZ4 stands for at most this many. */
const MAX_EXPANSION = 255;

export function decodeLz4Frame(input: Uint8Array): Uint8Array {
  const view = Buffer.from(input.buffer, input.byteOffset, input.byteLength);
  if (view.length < 7 || view.readUInt32LE(0) !== MAGIC) throw new Error('no LZ4 frame');
  const flags = view[4]!;
  const blockChecksum = (flags & 0x10) !== 0 ? 4 : 0;
  let at = 4 + 2 + ((flags & 0x08) !== 0 ? 8 : 0) + ((flags & 0x01) !== 0 ? 4 : 0) + 1;
  const output = new Output(Math.min(view.length * 4, 1 << 20), view.length * MAX_EXPANSION);
  for (;;) {
    if (at + 4 > view.length) throw new Error('LZ4 frame is cut short');
    const head = view.readUInt32LE(at);
    at += 4;
    if (head === 0) return output.bytes();
    const size = head & 0x7fffffff;
    if (at + size > view.length) throw new Error('LZ4 block is cut short');
    const block = view.subarray(at, at + size);
    if (head >>> 31 === 1) output.append(block);
    else decodeBlock(block, output);
    at += size + blockChecksum;
  }
}

/** A single block that comes to `length` bytes. */
export function decodeLz4Block(block: Uint8Array, length: number): Uint8Array {
  const output = new Output(length, length);
  decodeBlock(block, output);
  if (output.length !== length) throw new Error(`LZ4 block gives ${output.length} bytes, not ${length}`);
  return output.bytes();
}

class Output {
  #buffer: Uint8Array;
  readonly #most: number;
  length = 0;

  constructor(first: number, most: number) {
    this.#buffer = new Uint8Array(Math.max(1024, first));
    this.#most = most;
  }

  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Repeats what was written `distance` bytes ago; the copy may overlap itself. */
  repeat(distance: number, count: number): void {
    if (distance === 0 || distance > this.length) throw new Error('LZ4 match begins before the data');
    this.#reserve(count);
    const from = this.length - distance;
    if (distance >= count) this.#buffer.copyWithin(this.length, from, from + count);
    else for (let i = 0; i < count; i++) this.#buffer[this.length + i] = this.#buffer[from + i]!;
    this.length += count;
  }

  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.length);
  }

  #reserve(count: number): void {
    const length = this.length + count;
    if (length <= this.#buffer.length) return;
    if (length > this.#most) throw new Error('LZ4 data grows beyond what it can hold');
    const grown = new Uint8Array(Math.min(this.#most, 2 * length));
    grown.set(this.#buffer.subarray(0, this.length));
    this.#buffer = grown;
  }
}

function decodeBlock(block: Uint8Array, output: Output): void {
  let at = 0;
  const longer = (length: number): number => {
    if (length < 15) return length;
    for (let sum = length; ; ) {
      const byte = block[at++];
      if (byte === undefined) throw new Error('LZ4 block ends within a length');
      sum += byte;
      if (byte < 255) return sum;
    }
  };
  while (at < block.length) {
    const token = block[at++]!;
    const literals = longer(token >> 4);
    if (at + literals > block.length) throw new Error('LZ4 block ends within its literals');
    output.append(block.subarray(at, at + literals));
    at += literals;
    if (at === block.length) return;
    if (at + 2 > block.length) throw new Error('LZ4 block ends within a match');
    const distance = block[at]! | (block[at + 1]! << 8);
    at += 2;
    output.repeat(distance, longer(token & 15) + MIN_MATCH);
  }
}
