/** Regular expressions against JavaScript's own engine, their errors, and UTF-8. */
import { describe, expect, it } from 'vitest';
import { DataRandom } from '../../src/data/random.ts';
import { compile, utf8Ranges } from '../../src/generation/automaton.ts';
import { parseRegex } from '../../src/generation/regex.ts';
import { accepts, randomText } from './support.ts';

const automaton = (pattern: string) => compile(parseRegex(pattern).node);

const PATTERNS = [
  'abc',
  'a|bc|',
  '(a|b)*c',
  '(?:ab){2,3}c?',
  'a{0}b{2}',
  '[a-c]+[^a-c]{1,2}',
  '\\d{1,3}(\\.\\d+)?',
  '\\w+@\\w+\\.(com|org)',
  '[\\w.-]+\\s\\S',
  '-?(0|[1-9]\\d*)',
  '"[^"\\\\]*"',
  '.{3}',
  '[äöü]+ß?',
  '\\u00e9\\x41\\u{1F600}*',
  'a+?b*?',
  '^x[\\]^-]y$',
  '[\\d-]{2}',
  '(a*)*b',
  '[^\\d\\s]x',
  '\\{\\}\\(\\)\\/\\n\\t',
];
const ALPHABET = [
  'a',
  'b',
  'c',
  'x',
  'y',
  '0',
  '7',
  '.',
  '-',
  '@',
  ' ',
  '"',
  '\\',
  ']',
  '^',
  '_',
  'ä',
  'ß',
  'é',
  'A',
  '😀',
  '\n',
];

describe('a regular expression', () => {
  it.each(PATTERNS)('%s matches what JavaScript matches', (pattern) => {
    const constraint = automaton(pattern);
    const reference = new RegExp(`^(?:${pattern.replace(/^\^|\$$/g, '')})$`, 'u');
    const random = new DataRandom('regex', PATTERNS.indexOf(pattern), 0, 0);
    const next = () => random.next() / 2 ** 32;
    for (let i = 0; i < 300; i++) {
      const text = Array.from(
        { length: Math.floor(next() * 6) },
        () => ALPHABET[Math.floor(next() * ALPHABET.length)],
      ).join('');
      expect(accepts(constraint, text), JSON.stringify(text)).toBe(reference.test(text));
    }
    // What it matches by random steps, and that with one character changed.
    for (let i = 0; i < 100; i++) {
      const text = randomText(constraint, next, 12);
      if (text === undefined) continue;
      expect(reference.test(text), JSON.stringify(text)).toBe(true);
      const chars = [...text];
      chars[Math.floor(next() * chars.length)] = ALPHABET[Math.floor(next() * ALPHABET.length)]!;
      const changed = chars.join('');
      expect(accepts(constraint, changed), JSON.stringify(changed)).toBe(reference.test(changed));
    }
  });

  it('covers every code point once, in UTF-8', () => {
    const covered = (ranges: [number, number][]) => {
      const sequences = utf8Ranges(ranges);
      return (code: number) => {
        const bytes = [...Buffer.from(String.fromCodePoint(code))];
        return sequences.filter(
          (sequence) =>
            sequence.length === bytes.length &&
            sequence.every(([low, high], i) => bytes[i]! >= low && bytes[i]! <= high),
        ).length;
      };
    };
    const whole = covered([[0, 0x10ffff]]);
    const part = covered([[0x61, 0x3123f]]);
    const borders = [
      0x7f, 0x80, 0x7ff, 0x800, 0xfff, 0x1000, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x31239, 0x3123f,
    ];
    const codes = [...Array(3000).keys()]
      .map((i) => (i * 373) % 0xd800)
      .concat(borders, [0x31240, 0x60, 0x61, 0x10ffff]);
    for (const code of codes) {
      expect(whole(code)).toBe(1);
      expect(part(code), code.toString(16)).toBe(code >= 0x61 && code <= 0x3123f ? 1 : 0);
    }
  });

  it.each([
    ['a(b', 2, 'not closed'],
    ['ab)', 3, 'closes no group'],
    ['a**', 3, 'repeat of a repeat'],
    ['*a', 1, 'nothing before'],
    ['[a', 1, 'class is not closed'],
    ['[b-a]', 2, 'backwards'],
    ['[\\d-z]', 2, 'both ends'],
    ['a{3,2}', 2, 'above the most'],
    ['a{x}', 2, 'begins no repeat'],
    ['(?=a)', 1, 'look-around'],
    ['a\\', 2, 'escapes nothing'],
    ['\\bword', 1, '\\b is not supported'],
    ['\\1', 1, '\\1 is not supported'],
    ['\\p{L}', 1, '\\p is not supported'],
    ['\\xg0', 1, 'hexadecimal'],
    ['a^b', 2, 'matched anyway'],
  ])('%s is refused, with the place', (pattern, character, what) => {
    expect(() => automaton(pattern)).toThrow(
      expect.objectContaining({
        code: 'constraint_invalid',
        message: expect.stringMatching(new RegExp(`character ${character} .*`)),
      }),
    );
    expect(() => automaton(pattern)).toThrow(what);
  });

  it('that matches nothing, or is too large, is refused', () => {
    expect(() => automaton('[^\\s\\S]a')).toThrow('matches no text');
    expect(() => automaton('(a{1000}){1000}')).toThrow('too large');
    expect(() => automaton('(.*a.{16})')).toThrow('states');
  });

  it('leaves no state from which the end cannot be reached', () => {
    const { transitions, accepting } = automaton('a([^\\s\\S]|b)|c(d[^\\s\\S])?');
    const reaches = (state: number, seen: Set<number>): boolean => {
      if (accepting[state] === 1) return true;
      if (seen.has(state)) return false;
      seen.add(state);
      return [...transitions.subarray(state * 256, (state + 1) * 256)].some(
        (to) => to >= 0 && reaches(to, seen),
      );
    };
    for (let state = 0; state < accepting.length; state++) expect(reaches(state, new Set())).toBe(true);
    expect(accepting.length).toBe(4);
  });
});
