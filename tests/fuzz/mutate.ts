/** Damages bytes as disks, networks and people do, and worse; the same for the same seed and number. */

export class Random {
  #state: number;

  /** A stream of its own for each seed and number. */
  constructor(seed: number, number: number) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b)) >>> 0;
    for (let i = 0; i < 4; i++) this.below(2);
  }

  /** A whole number from 0 to `bound` - 1. */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * bound);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

const ODD_BYTES = [0, 1, 9, 10, 13, 0x20, 0x22, 0x2c, 0x3c, 0x5b, 0x5c, 0x7b, 0x7f, 0x80, 0xc3, 0xed, 0xff];
const ODD_NUMBERS = ['0', '-1', '4294967295', '9007199254740993', '1e999', '99999999999999'];
const MAX_BYTES = 1 << 16;

type Mutation = (
  bytes: Buffer,
  random: Random,
  corpus: readonly Buffer[],
  words: readonly string[],
) => Buffer;

/** `bytes` with what is from `at` to `at + removed` replaced. */
function spliced(bytes: Buffer, at: number, removed: number, inserted: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at + removed)]);
}

const MUTATIONS: readonly Mutation[] = [
  function flipBits(bytes, random) {
    const out = Buffer.from(bytes);
    for (let i = 1 + random.below(4); i > 0 && out.length > 0; i--) {
      out[random.below(out.length)]! ^= 1 << random.below(8);
    }
    return out;
  },
  function setBytes(bytes, random) {
    const out = Buffer.from(bytes);
    for (let i = 1 + random.below(4); i > 0 && out.length > 0; i--) {
      out[random.below(out.length)] = random.below(2) === 0 ? random.pick(ODD_BYTES) : random.below(256);
    }
    return out;
  },
  function setWord(bytes, random) {
    if (bytes.length < 4) return bytes;
    const out = Buffer.from(bytes);
    const value = random.pick([
      0,
      1,
      0x7fffffff,
      0xffffffff,
      0x80000000,
      bytes.length,
      random.below(2 ** 32),
    ]);
    out.writeUInt32LE(value, random.below(out.length - 3));
    return out;
  },
  function truncate(bytes, random) {
    return bytes.subarray(0, random.below(bytes.length + 1));
  },
  function beheaded(bytes, random) {
    return bytes.subarray(random.below(bytes.length + 1));
  },
  function remove(bytes, random) {
    return spliced(bytes, random.below(bytes.length + 1), random.below(16), Buffer.alloc(0));
  },
  function repeat(bytes, random) {
    const at = random.below(bytes.length + 1);
    const part = bytes.subarray(at, at + 1 + random.below(64));
    const times = 1 + random.below(random.below(8) === 0 ? 200 : 4);
    return spliced(bytes, at, 0, Buffer.concat(Array.from({ length: times }, () => part)));
  },
  function insertWord(bytes, random, _, words) {
    return spliced(
      bytes,
      random.below(bytes.length + 1),
      random.below(4),
      Buffer.from(random.pick(words), 'latin1'),
    );
  },
  function insertNumber(bytes, random) {
    return spliced(
      bytes,
      random.below(bytes.length + 1),
      random.below(4),
      Buffer.from(random.pick(ODD_NUMBERS)),
    );
  },
  function nest(bytes, random, _, words) {
    const depth = random.pick([3, 30, 300, 3000]);
    return spliced(
      bytes,
      random.below(bytes.length + 1),
      0,
      Buffer.from(random.pick(words).repeat(depth), 'latin1'),
    );
  },
  function splice(bytes, random, corpus) {
    const other = random.pick(corpus);
    const from = random.below(other.length + 1);
    const part = other.subarray(from, from + random.below(other.length + 1));
    return spliced(bytes, random.below(bytes.length + 1), random.below(bytes.length + 1), part);
  },
];

/** Input `number` of a seed: one of the corpus with one to five mutations. */
export function mutated(
  seed: number,
  number: number,
  corpus: readonly Buffer[],
  words: readonly string[],
): Buffer {
  const random = new Random(seed, number);
  let bytes = random.pick(corpus);
  for (let i = 1 + random.below(5); i > 0; i--) {
    bytes = random.pick(MUTATIONS)(bytes, random, corpus, words).subarray(0, MAX_BYTES);
  }
  return bytes;
}
