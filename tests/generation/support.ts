/** Running an automaton over a text, and writing random texts of it. */
import type { Constraint } from '../../src/native/addon.ts';

/** Whether the whole text matches. */
export function accepts({ transitions, accepting }: Constraint, text: string): boolean {
  let state = 0;
  for (const byte of Buffer.from(text)) {
    state = transitions[state * 256 + byte]!;
    if (state < 0) return false;
  }
  return accepting[state] === 1;
}

/** A text of at most about `length` bytes by random steps; it ends as soon as it may after that. */
export function randomText(constraint: Constraint, random: () => number, length: number): string | undefined {
  const { transitions, accepting } = constraint;
  const bytes: number[] = [];
  let state = 0;
  while (bytes.length < 20 * length) {
    const next = [...Array(256).keys()].filter((byte) => transitions[state * 256 + byte]! >= 0);
    const mayEnd = accepting[state] === 1;
    if (next.length === 0 || (mayEnd && (bytes.length >= length || random() < 0.2))) {
      return Buffer.from(bytes).toString();
    }
    const byte = next[Math.floor(random() * next.length)]!;
    bytes.push(byte);
    state = transitions[state * 256 + byte]!;
  }
  return undefined;
}
