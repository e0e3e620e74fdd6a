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
    const [s0, s1, s2, s3] = s as unknown as [number, number, number, number];
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
    const limit = 2 ** 32 - (2 ** 32 % bound);
    for (;;) {
      const value = this.next();
      if (value < limit) return value % bound;
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
