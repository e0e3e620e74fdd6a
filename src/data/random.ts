/** Random numbers for orders of data: the same on every machine, from a seed and the purpose they serve. */
import { createHash } from 'node:crypto';

/** xoshiro128** (Blackman and Vigna 2018), seeded by a hash of `key`. */
export class DataRandom {
  readonly #state: Uint32Array;

  constructor(...key: (string | number)[]) {
    const digest = createHash('sha256').update(JSON.stringify(key)).digest();
    this.#state = Uint32Array.from([0, 4, 8, 12], (at) => digest.readUInt32LE(at));
  }

  /** Uniform over 0 to 2^32 - 1. */
  next(): number {
    const s = this.#state;
    const s0 = s[0]!;
    const s1 = s[1]!;
    const s2 = s[2]!;
    const s3 = s[3]!;
    const scaled = Math.imul(s1, 5);
    const result = Math.imul((scaled << 7) | (scaled >>> 25), 9) >>> 0;
    const t2 = s2 ^ s0;
    const t3 = s3 ^ s1;
    s[1] = s1 ^ t2;
    s[0] = s0 ^ t3;
    s[2] = t2 ^ (s1 << 9);
    s[3] = (t3 << 11) | (t3 >>> 21);
    return result;
  }

  /** Uniform over 0 to bound - 1, for bounds up to 2^32. */
  below(bound: number): number {
    for (;;) {
      const value = this.next();
      // The remainder of 2^32, which takes long, is asked for among the last few values only; the quotient is exact,
      // as doubles have 21 bits more than it needs.
      if (value < 2 ** 32 - bound || value < 2 ** 32 - (2 ** 32 % bound)) {
        return value - bound * Math.floor(value / bound);
      }
    }
  }

  /** Uniform over 0 to 2^53 - 1: a seed for another generator. */
  seed(): number {
    return this.next() * 2 ** 21 + (this.next() >>> 11);
  }

  /** Fisher and Yates, in place. */
  shuffle(items: Uint32Array): void {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const item = items[i]!;
      items[i] = items[j]!;
      items[j] = item;
    }
  }
}
