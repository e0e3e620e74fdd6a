/**
 * Which split a document belongs to and how often it is taken: decided by its content and the seed alone, so that
 * neither the order of files nor a restart changes it, and equal documents never stand on both sides.
 */
import { createHash } from 'node:crypto';

/** Two numbers in [0, 1) from the content of a document. */
export function contentFractions(content: Uint8Array, seed: number): { split: number; repeat: number } {
  const digest = createHash('sha256').update(content).digest();
  const repeat = createHash('sha256').update(digest).update(String(seed)).digest();
  return { split: digest.readUIntBE(0, 6) / 2 ** 48, repeat: repeat.readUIntBE(0, 6) / 2 ** 48 };
}

/** Copies of a document under a weight: its whole part, and one more for a share of the documents. */
export function copiesFor(weight: number, fraction: number): number {
  const whole = Math.floor(weight);
  return whole + (fraction < weight - whole ? 1 : 0);
}
