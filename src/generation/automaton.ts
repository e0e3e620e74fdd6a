/**
 * Trees of regular expressions to deterministic automata over bytes (UTF-8): a nondeterministic automaton by
 * Thompson's construction, then the subset construction over classes of bytes that no transition tells apart. States
 * from which no answer can be completed are taken out, so that whatever is allowed can be finished.
 */
import { AnnealError } from '../../proto/errors.ts';
import type { Constraint } from '../native/addon.ts';
import type { Node, Ranges } from './regex.ts';

const MOST_PARTS = 500_000;
const MOST_STATES = 20_000;

/** The automaton of a tree. Throws `constraint_invalid` when it matches nothing or becomes too large. */
export function compile(node: Node): Constraint {
  const nfa = new Nfa();
  const end = nfa.add(node, 0);
  return trim(determine(nfa, end));
}

class Nfa {
  /** Of each state: states that are reached without a byte, and byte ranges with their targets. */
  readonly empty: number[][] = [[]];
  readonly edges: { low: number; high: number; to: number }[][] = [[]];

  state(): number {
    if (this.empty.length >= MOST_PARTS) {
      throw new AnnealError(
        'constraint_invalid',
        'The constraint is too large: its repeats, written out, are too many.',
        {
          hint: 'Give lengths and numbers of items smaller bounds, or none.',
        },
      );
    }
    this.empty.push([]);
    this.edges.push([]);
    return this.empty.length - 1;
  }

  /** Adds a tree after state `from`; gives the state behind it. */
  add(node: Node, from: number): number {
    switch (node.kind) {
      case 'set': {
        const end = this.state();
        for (const bytes of utf8Ranges(node.ranges)) {
          let at = from;
          for (const [index, [low, high]] of bytes.entries()) {
            const to = index === bytes.length - 1 ? end : this.state();
            this.edges[at]!.push({ low, high, to });
            at = to;
          }
        }
        return end;
      }
      case 'sequence':
        return node.nodes.reduce((at, part) => this.add(part, at), from);
      case 'alternatives': {
        const end = this.state();
        for (const part of node.nodes) {
          const start = this.state();
          this.empty[from]!.push(start);
          this.empty[this.add(part, start)]!.push(end);
        }
        return end;
      }
      case 'repeat':
        return this.#repeat(node, from);
    }
  }

  #repeat({ node, min, max }: Node & { kind: 'repeat' }, from: number): number {
    let at = from;
    for (let i = 0; i < min; i++) at = this.add(node, at);
    if (max === Number.POSITIVE_INFINITY) {
      const loop = this.state();
      this.empty[at]!.push(loop);
      this.empty[this.add(node, loop)]!.push(loop);
      const end = this.state();
      this.empty[loop]!.push(end);
      return end;
    }
    const end = this.state();
    for (let i = min; i < max; i++) {
      this.empty[at]!.push(end);
      const start = this.state();
      this.empty[at]!.push(start);
      at = this.add(node, start);
    }
    this.empty[at]!.push(end);
    return end;
  }
}

/** First code points of each length of UTF-8, and of each lead byte of it, are borders of ranges. */
const LENGTH_ENDS = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/** Sequences of byte ranges that together are the UTF-8 of the code points (surrogates left out). */
export function utf8Ranges(ranges: Ranges): (readonly [number, number])[][] {
  const out: (readonly [number, number])[][] = [];
  const split = (low: number, high: number): void => {
    if (low > high) return;
    for (const end of LENGTH_ENDS) {
      if (low <= end && high > end) {
        split(low, end);
        split(end + 1, high);
        return;
      }
    }
    const length = LENGTH_ENDS.findIndex((end) => high <= end) + 1;
    // Below a byte that differs, the rest must run over all continuation bytes.
    for (let i = 1; i < length; i++) {
      const mask = (1 << (6 * i)) - 1;
      if ((low & ~mask) === (high & ~mask)) continue;
      if ((low & mask) !== 0) {
        split(low, low | mask);
        split((low | mask) + 1, high);
        return;
      }
      if ((high & mask) !== mask) {
        split(low, (high & ~mask) - 1);
        split(high & ~mask, high);
        return;
      }
    }
    const first = Buffer.from(String.fromCodePoint(low));
    const last = Buffer.from(String.fromCodePoint(high));
    out.push([...first].map((byte, i) => [byte, last[i]!] as const));
  };
  for (const [low, high] of ranges) {
    split(low, Math.min(high, 0xd7ff));
    split(Math.max(low, 0xe000), high);
  }
  return out;
}

interface Dfa {
  transitions: number[][];
  accepting: boolean[];
  /** Class of each byte: an index into a row of `transitions`. */
  classes: Uint8Array;
}

function determine(nfa: Nfa, end: number): Dfa {
  const borders = new Set([0]);
  for (const { low, high } of nfa.edges.flat()) {
    borders.add(low);
    if (high < 255) borders.add(high + 1);
  }
  const firsts = [...borders].sort((a, b) => a - b);
  const classes = new Uint8Array(256);
  for (const [index, first] of firsts.entries()) classes.fill(index, first);

  const marks = new Int32Array(nfa.empty.length);
  let mark = 0;
  const closure = (states: number[]): number[] => {
    mark++;
    const all: number[] = [];
    const open = states;
    while (open.length > 0) {
      const state = open.pop()!;
      if (marks[state] === mark) continue;
      marks[state] = mark;
      // States that only lead on say nothing that their targets do not say.
      if (nfa.edges[state]!.length > 0 || state === end) all.push(state);
      open.push(...nfa.empty[state]!);
    }
    return all.sort((a, b) => a - b);
  };

  const known = new Map<string, number>();
  const sets: number[][] = [];
  const number = (states: number[]): number => {
    const key = states.join();
    let index = known.get(key);
    if (index === undefined) {
      index = sets.length;
      if (index >= MOST_STATES) {
        throw new AnnealError(
          'constraint_invalid',
          `The constraint is too large: more than ${MOST_STATES} states.`,
          {
            hint: 'Give lengths and numbers of items smaller bounds, or none; avoid alternatives that overlap.',
          },
        );
      }
      known.set(key, index);
      sets.push(states);
    }
    return index;
  };

  const transitions: number[][] = [];
  number(closure([0]));
  for (let i = 0; i < sets.length; i++) {
    const targets: number[][] = firsts.map(() => []);
    for (const state of sets[i]!) {
      for (const { low, high, to } of nfa.edges[state]!) {
        for (let c = classes[low]!; c <= classes[high]!; c++) targets[c]!.push(to);
      }
    }
    transitions.push(targets.map((states) => (states.length === 0 ? -1 : number(closure(states)))));
  }
  return { transitions, accepting: sets.map((states) => states.includes(end)), classes };
}

/** Takes out the states that lead to no accepting one. */
function trim({ transitions, accepting, classes }: Dfa): Constraint {
  const sources: number[][] = transitions.map(() => []);
  for (const [from, row] of transitions.entries()) {
    for (const to of row) if (to >= 0) sources[to]!.push(from);
  }
  const alive = new Uint8Array(transitions.length);
  const open = [...accepting.keys()].filter((state) => accepting[state]);
  while (open.length > 0) {
    const state = open.pop()!;
    if (alive[state] === 1) continue;
    alive[state] = 1;
    open.push(...sources[state]!);
  }
  if (alive[0] === 0) {
    throw new AnnealError('constraint_invalid', 'The constraint matches no text at all.', {
      hint: 'Look for an empty class such as [^\\s\\S].',
    });
  }
  let next = 0;
  const renamed = transitions.map((_, state) => (alive[state] === 1 ? next++ : -1));
  const out = new Int32Array(next * 256).fill(-1);
  for (const [state, row] of transitions.entries()) {
    if (renamed[state] === -1) continue;
    for (let byte = 0; byte < 256; byte++) {
      const to = row[classes[byte]!]!;
      if (to >= 0) out[renamed[state]! * 256 + byte] = renamed[to]!;
    }
  }
  return {
    transitions: out,
    accepting: Uint8Array.from(
      accepting.filter((_, state) => alive[state] === 1),
      Number,
    ),
  };
}
