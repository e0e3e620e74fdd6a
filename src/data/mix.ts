/**
 * Which split a document belongs to and how often it is taken: decided by its content and the seed alone, so that
 * neither the order of files nor a restart changes it, and equal documents never stand on both sides.
 */
import { crc32 } from 'node:zlib';

/** A number in [0, 1) from the content of a document alone: below the validation fraction it is held out. */
export function splitFraction(content: Uint8Array): number {
  return scramble(crc32(content)) / 2 ** 32;
}

/** Copies of a document under a weight: its whole part, and one more for a share of the documents. */
export function copiesFor(weight: number, content: Uint8Array, seed: number): number {
  const whole = Math.floor(weight);
  if (weight === whole) return whole;
  const share = scramble(crc32(content) ^ scramble(crc32(`copies ${seed}`))) / 2 ** 32;
  return whole + (share < weight - whole ? 1 : 0);
}

/** Spreads the bits of a checksum, whose neighbours differ in few (the finaliser of MurmurHash3). */
function scramble(bits: number): number {
  let h = bits;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
