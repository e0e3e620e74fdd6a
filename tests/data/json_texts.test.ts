import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SupervisedShaper } from '../../src/data/shapes/content.ts';
import { loadAddon } from '../../src/native/addon.ts';

const addon = loadAddon();
const options = new SupervisedShaper({}).jsonTexts!;
const texts = addon.createJsonTexts(options);

/** What is read of a row: undefined where a parser has to look at it. */
function read(row: string | Uint8Array): string | undefined {
  const bytes = Buffer.from(row);
  const out = Buffer.alloc(bytes.length + 3);
  const length = texts.read(bytes, out, 3);
  return length < 0 ? undefined : out.subarray(3, 3 + length).toString();
}

/** The text as bytes hold it. */
function stored(text: string): string {
  return Buffer.from(text).toString();
}

/** The text that a parser finds, where the row has nothing else that counts. */
function parsed(row: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(row);
  } catch {
    return undefined;
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
  if (options.others.some((name) => Object.hasOwn(value, name))) return undefined;
  const { text } = value as { text?: unknown };
  return typeof text === 'string' ? stored(text) : undefined;
}

describe('texts of JSON rows', () => {
  it('are read beside whatever else a row holds', () => {
    expect(read('{"text":"a\\u0041\\n\\"\\\\\\/\\b\\f\\r\\té 🙂"}')).toBe('aA\n"\\/\b\f\r\té 🙂');
    expect(read(' {"id" : -1.5e+3, "text":"" , "meta":{"a":[1,{"b":null}],"c\\n":"\\u12aB"},"x":[]}\r')).toBe(
      '',
    );
    expect(read('{"text":"\\ud83d\\ude42 \\ud83d\\ud83d\\ude42 \\ud83d \\ude42\\ud83dA"}')).toBe(
      '🙂 \ufffd🙂 \ufffd \ufffd\ufffdA',
    );
  });

  it('are left to a parser where the row may be something else, or nothing', () => {
    const others = [
      '{"text":"a","messages":[]}',
      '{"text":"a","prompt":"b"}',
      '{"text":"a","text":"b"}',
      '{"text":null}',
      '{"text":["a"]}',
      '{"te\\u0078t":"a"}',
      '{"txt":"a"}',
      `{"text":"a","deep":${'['.repeat(99)}${']'.repeat(99)}}`,
    ];
    const broken = [
      '',
      '[]',
      '"text"',
      '{}',
      '{"text":"a"',
      '{"text":"a"}}',
      '{"text":"a",}',
      '{"text":"a" "b":1}',
      '{"text":"a\tb"}',
      '{"text":"a\\x"}',
      '{"text":"\\u12g4"}',
      '{"text":"a\\"}',
      '{"text":"a","n":01}',
      '{"text":"a","n":1.}',
      '{"text":"a","n":-}',
      '{"text":"a","n":1e}',
      '{"text":"a","n":tru}',
      '{"text":"a","n":[1,]}',
      '{"text":"a","n":{"b"}}',
      '{"text":"a","n":"\u0001"}',
      '{text:"a"}',
      '\ufeff{"text":"a"}',
    ];
    for (const row of [...others, ...broken]) expect(read(row), row).toBeUndefined();
    for (const row of broken) expect(parsed(row), row).toBeUndefined();
  });

  it('are those that JSON.parse finds, in any row', () => {
    const value = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.double(), fc.string({ unit: 'binary' }));
    const row = fc.tuple(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.dictionary(fc.string({ maxLength: 3 }), value, { maxKeys: 3 }),
      fc.boolean(),
      fc.constantFrom(undefined, 1),
    );
    fc.assert(
      fc.property(row, ([text, rest, first, space]) => {
        const written = JSON.stringify(first ? { text, ...rest } : { ...rest, text }, null, space);
        const found = read(written);
        if (found !== undefined) expect(found).toBe(parsed(written));
        const plain = Object.keys(rest).every((key) => JSON.stringify(key) === `"${key}"`);
        if (plain && !Object.hasOwn(rest, 'text')) expect(found).toBe(stored(text));
      }),
      { numRuns: 2000 },
    );
  });

  it('are not read of rows that were damaged where a parser would read another', () => {
    const written = Buffer.from(
      JSON.stringify({
        id: 'a',
        text: 'one "two" \\ three\u0007 é 🙂',
        n: [1.5e-7, true, null, { b: -0.25 }],
      }),
    );
    const change = fc.tuple(
      fc.nat(written.length - 1),
      fc.constantFrom(...Buffer.from('\\"{}[]:,u0e-. t\n\u0001')),
    );
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        const row = Buffer.from(written);
        for (const [at, byte] of changes) row[at] = byte;
        // Rows that are no UTF-8 are not asked for.
        const text = row.toString();
        const found = read(text);
        if (found !== undefined) expect(found).toBe(parsed(text));
      }),
      { numRuns: 5000 },
    );
  });

  it('need room for the row', () => {
    expect(() => texts.read(Buffer.from('{"text":""}'), Buffer.alloc(20), 10)).toThrow(/out/);
  });

  it('are not asked for where the recipe looks at more', () => {
    expect(new SupervisedShaper({ where: { stars: 1 } }).jsonTexts).toBeUndefined();
    expect(new SupervisedShaper({ fields: { text: 'a.b' } }).jsonTexts).toBeUndefined();
    expect(new SupervisedShaper({ fields: { messages: 'text' } }).jsonTexts).toBeUndefined();
    expect(new SupervisedShaper({ fields: { text: 'body' } }).jsonTexts).toEqual({
      field: 'body',
      others: [],
    });
    expect(options.others).toContain('conversations');
  });
});
