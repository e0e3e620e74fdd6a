/**
 * Regular expressions for constrained output: a subset of JavaScript's syntax, parsed to a tree. The whole answer
 * must match, so `^` at the start and `$` at the end say nothing new.
 *
 * Literals, `.` (all but line ends), classes `[a-z]` `[^"]`, escapes (`\d \w \s \D \W \S`, ASCII; `\n \r \t \f \v \0`,
 * `\xHH`, `\uHHHH`, `\u{H...}`, and any punctuation), groups `(...)` `(?:...)`, alternatives `|`, repeats `? * +`
 * `{n}` `{n,}` `{n,m}` (a `?` after a repeat changes nothing: only whether a text matches counts). Not: look-around,
 * back-references, word borders, flags, `\p`: they are refused.
 */
import { AnnealError } from '../../proto/errors.ts';

/** Inclusive ranges of code points. */
export type Ranges = readonly (readonly [number, number])[];

export type Node =
  | { kind: 'set'; ranges: Ranges }
  | { kind: 'sequence'; nodes: readonly Node[] }
  | { kind: 'alternatives'; nodes: readonly Node[] }
  | { kind: 'repeat'; node: Node; min: number; max: number };

const LAST = 0x10ffff;
const DIGITS: Ranges = [[0x30, 0x39]];
const WORD: Ranges = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const SPACE: Ranges = [
  [0x09, 0x0d],
  [0x20, 0x20],
];
const LINE_ENDS: Ranges = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CONTROLS: Record<string, number> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b, '0': 0 };

/** The characters that begin a construct, and so need an escape to stand for themselves. */
const SYNTAX = new Set('\\^$.*+?()[]{}|');

/** A text as a tree. */
export function literal(text: string): Node {
  return sequence([...text].map((char) => set([[char.codePointAt(0)!, char.codePointAt(0)!]])));
}

export function set(ranges: Ranges): Node {
  return { kind: 'set', ranges };
}

export function sequence(nodes: readonly Node[]): Node {
  return nodes.length === 1 ? nodes[0]! : { kind: 'sequence', nodes };
}

export function alternatives(nodes: readonly Node[]): Node {
  return nodes.length === 1 ? nodes[0]! : { kind: 'alternatives', nodes };
}

export function repeat(node: Node, min: number, max = Number.POSITIVE_INFINITY): Node {
  return { kind: 'repeat', node, min, max };
}

/** All code points (surrogates are none) that are not in the ranges. */
export function complement(ranges: Ranges): Ranges {
  const out: [number, number][] = [];
  let next = 0;
  for (const [low, high] of ranges.toSorted((a, b) => a[0] - b[0])) {
    if (low > next) out.push([next, low - 1]);
    next = Math.max(next, high + 1);
  }
  if (next <= LAST) out.push([next, LAST]);
  return out;
}

/** Parses an expression; an error says where. `anchors` tells which of `^` and `$` were written. */
export function parseRegex(text: string): { node: Node; anchors: { start: boolean; end: boolean } } {
  const parser = new Parser(text);
  const start = parser.take('^');
  const node = parser.alternatives();
  const end = parser.take('$');
  parser.requireEnd();
  return { node, anchors: { start, end } };
}

class Parser {
  readonly #chars: string[];
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
    this.#chars = [...text];
  }

  take(char: string): boolean {
    if (this.#chars[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  requireEnd(): void {
    if (this.#at === this.#chars.length) return;
    if (this.#chars[this.#at] === ')') this.#fail('this ) closes no group');
    this.#fail(`${this.#chars[this.#at]} may not stand here`);
  }

  alternatives(): Node {
    const nodes = [this.#sequence()];
    while (this.take('|')) nodes.push(this.#sequence());
    return alternatives(nodes);
  }

  #sequence(): Node {
    const nodes: Node[] = [];
    for (;;) {
      const char = this.#chars[this.#at];
      if (char === undefined || char === '|' || char === ')') break;
      // The end of the whole is the caller's.
      if (char === '$' && this.#depth === 0 && this.#at === this.#chars.length - 1) break;
      nodes.push(this.#repeats(this.#atom()));
    }
    return sequence(nodes);
  }

  #repeats(node: Node): Node {
    let out = node;
    let repeated = false;
    for (;;) {
      const start = this.#at;
      const bounds = this.#bounds();
      if (bounds === undefined) return out;
      if (repeated) this.#fail('a repeat of a repeat: put the first one in a group', start);
      repeated = true;
      if (bounds[0] > bounds[1]) this.#fail('the least number of repeats is above the most', start);
      this.take('?');
      out = repeat(out, bounds[0], bounds[1]);
    }
  }

  #bounds(): [number, number] | undefined {
    if (this.take('*')) return [0, Number.POSITIVE_INFINITY];
    if (this.take('+')) return [1, Number.POSITIVE_INFINITY];
    if (this.take('?')) return [0, 1];
    if (this.#chars[this.#at] !== '{') return undefined;
    const rest = this.#chars.slice(this.#at).join('');
    const match = /^\{(\d+)(?:(,)(\d*))?\}/.exec(rest);
    if (match === null) this.#fail('{ begins no repeat; for the character write \\{');
    this.#at += match[0].length;
    const min = Number(match[1]);
    if (match[2] === undefined) return [min, min];
    return [min, match[3] === '' ? Number.POSITIVE_INFINITY : Number(match[3])];
  }

  #atom(): Node {
    const start = this.#at;
    const char = this.#chars[this.#at++]!;
    if (char === '(') return this.#group(start);
    if (char === '[') return set(this.#class(start));
    if (char === '.') return set(complement(LINE_ENDS));
    if (char === '\\') return set(this.#escape(start));
    if (char === '^' || char === '$') {
      this.#fail('the whole answer is matched anyway; for the character write an escape', start);
    }
    if (SYNTAX.has(char))
      this.#fail(`there is nothing before ${char} to repeat, or it needs an escape`, start);
    return literal(char);
  }

  #group(start: number): Node {
    if (this.take('?') && !this.take(':')) {
      this.#fail('look-around, names and flags of groups are not supported; only ( ) and (?: )', start);
    }
    this.#depth++;
    const node = this.alternatives();
    this.#depth--;
    if (!this.take(')')) this.#fail('this group is not closed', start);
    return node;
  }

  #class(start: number): Ranges {
    const negated = this.take('^');
    const ranges: (readonly [number, number])[] = [];
    for (;;) {
      const at = this.#at;
      if (at >= this.#chars.length) this.#fail('this class is not closed', start);
      if (this.take(']')) break;
      const low = this.#classItem();
      if (this.#chars[this.#at] === '-' && this.#chars[this.#at + 1] !== ']') {
        this.#at++;
        const high = this.#classItem();
        if (
          low.length !== 1 ||
          high.length !== 1 ||
          low[0]![0] !== low[0]![1] ||
          high[0]![0] !== high[0]![1]
        ) {
          this.#fail('a range needs a character at both ends', at);
        }
        if (low[0]![0] > high[0]![0]) this.#fail('the range runs backwards', at);
        ranges.push([low[0]![0], high[0]![0]]);
      } else {
        ranges.push(...low);
      }
    }
    return negated ? complement(ranges) : ranges;
  }

  #classItem(): Ranges {
    const start = this.#at;
    const char = this.#chars[this.#at++];
    if (char === undefined) this.#fail('this class is not closed', start);
    if (char !== '\\') return [[char.codePointAt(0)!, char.codePointAt(0)!]];
    if (this.take('b')) return [[0x08, 0x08]];
    return this.#escape(start);
  }

  #escape(start: number): Ranges {
    const char = this.#chars[this.#at++];
    if (char === undefined) this.#fail('a \\ at the end escapes nothing', start);
    const shorthand = { d: DIGITS, w: WORD, s: SPACE }[char.toLowerCase()];
    if (shorthand !== undefined) return char === char.toLowerCase() ? shorthand : complement(shorthand);
    const code = CONTROLS[char] ?? (char === 'x' || char === 'u' ? this.#hex(char, start) : undefined);
    if (code !== undefined) return [[code, code]];
    if (/[\p{L}\p{N}]/u.test(char)) this.#fail(`\\${char} is not supported`, start);
    return [[char.codePointAt(0)!, char.codePointAt(0)!]];
  }

  #hex(kind: 'x' | 'u', start: number): number {
    const rest = this.#chars.slice(this.#at).join('');
    const match = (kind === 'x' ? /^([0-9a-f]{2})/i : /^(?:([0-9a-f]{4})|\{([0-9a-f]{1,6})\})/i).exec(rest);
    const code = Number.parseInt(match?.[1] ?? match?.[2] ?? '', 16);
    if (match === null || code > LAST)
      this.#fail(`\\${kind} needs ${kind === 'x' ? 2 : 4} hexadecimal digits`, start);
    this.#at += match[0].length;
    return code;
  }

  #fail(what: string, at = this.#at): never {
    const shown = `${this.#chars.slice(Math.max(0, at - 20), at).join('')}»${this.#chars.slice(at, at + 20).join('')}`;
    throw new AnnealError(
      'constraint_invalid',
      `Regular expression, character ${at + 1} (${shown}): ${what}.`,
      {
        path: this.#text.length > 200 ? `${this.#text.slice(0, 200)}...` : this.#text,
        hint: 'docs/generation.md lists what is supported.',
      },
    );
  }
}
