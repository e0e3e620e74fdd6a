/**
 * Random numbers for the data makers: a stream is named by a text, so that the same name gives the same numbers on
 * every machine and adding one use never shifts another.
 */
import { createHash } from 'node:crypto';

/** A named stream (Mulberry32, seeded from SHA-256 of the name). */
export class RandomStream {
  #state: number;

  constructor(name: string) {
    this.#state = createHash('sha256').update(name).digest().readUInt32LE(0);
  }

  /** Uniform in [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  }

  /** Uniform in 0 .. bound - 1. */
  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }

  /** A shuffled copy (Fisher-Yates). */
  shuffle<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [result[i], result[j]] = [result[j]!, result[i]!];
    }
    return result;
  }
}

/** The items that a hash of their key sends to the first `share` (0 to 1) of its range. */
export function hashFraction(key: string): number {
  return createHash('sha256').update(key).digest().readUInt32BE(0) / 4294967296;
}
