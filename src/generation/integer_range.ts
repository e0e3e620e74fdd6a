/** Integers between two bounds, as the tree of a regular expression over their decimal digits. */
import { alternatives, literal, type Node, repeat, sequence, set } from './regex.ts';

const DIGIT = digits(0, 9);

function digits(low: number, high: number): Node {
  return set([[0x30 + low, 0x30 + high]]);
}

/** All integers from `low` to `high`, both included without leading zeros or a minus zero. */
export function integerRange(low: number, high: number): Node {
  const parts: Node[] = [];
  if (low < 0) parts.push(sequence([literal('-'), naturals(Math.max(1, -high), -low)]));
  if (high >= 0) parts.push(naturals(Math.max(0, low), high));
  return alternatives(parts);
}

/** 0 <= low <= high. */
function naturals(low: number, high: number): Node {
  const parts: Node[] = [];
  const first = String(low).length;
  const last = String(high).length;
  for (let length = first; length <= last; length++) {
    const from = length === first ? String(low) : `1${'0'.repeat(length - 1)}`;
    const to = length === last ? String(high) : '9'.repeat(length);
    parts.push(sameLength(from, to));
  }
  return alternatives(parts);
}

/** Numbers from `low` to `high`, which have equally many digits. */
function sameLength(low: string, high: string): Node {
  if (low === high) return literal(low);
  const [a, b] = [Number(low[0]), Number(high[0])];
  const rest = low.length - 1;
  if (rest === 0) return digits(a, b);
  if (a === b) return sequence([digits(a, a), sameLength(low.slice(1), high.slice(1))]);
  // From low to the end of its first digit, whole first digits between, from the start of high's first digit to high.
  const lowest = /^0*$/.test(low.slice(1));
  const highest = /^9*$/.test(high.slice(1));
  const parts: Node[] = [];
  if (!lowest) parts.push(sequence([digits(a, a), sameLength(low.slice(1), '9'.repeat(rest))]));
  const [from, to] = [lowest ? a : a + 1, highest ? b : b - 1];
  if (from <= to) parts.push(sequence([digits(from, to), repeat(DIGIT, rest, rest)]));
  if (!highest) parts.push(sequence([digits(b, b), sameLength('0'.repeat(rest), high.slice(1))]));
  return alternatives(parts);
}
