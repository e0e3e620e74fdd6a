/** JSON Schemas as constraints: whatever the automaton writes is valid by ajv; what is not supported says where. */
import { Ajv, type AnySchema } from 'ajv';
import { describe, expect, it } from 'vitest';
import { DataRandom } from '../../src/data/random.ts';
import { compile } from '../../src/generation/automaton.ts';
import { schemaTree } from '../../src/generation/json_schema.ts';
import { accepts, randomText } from './support.ts';

const SCHEMAS: Record<string, AnySchema & object> = {
  'an object': {
    type: 'object',
    properties: {
      name: { type: 'string', minLength: 1, maxLength: 8 },
      age: { type: 'integer', minimum: 0, maximum: 130 },
      'a "key"/~': { type: 'boolean' },
    },
    required: ['name', 'age'],
    additionalProperties: false,
  },
  'optional properties': {
    type: 'object',
    properties: { a: { type: 'null' }, b: { type: 'boolean' }, c: { const: 3 } },
  },
  'nothing in an object': { type: 'object', properties: {} },
  'a required one in the middle': {
    type: 'object',
    properties: { a: { type: 'null' }, b: { type: 'boolean' }, c: { enum: ['x', 1] } },
    required: ['b'],
  },
  arrays: { type: 'array', items: { type: 'integer' }, minItems: 2, maxItems: 4 },
  'arrays, perhaps empty': { type: 'array', items: { type: 'array', items: { type: 'null' }, maxItems: 1 } },
  'empty arrays': { type: 'array', maxItems: 0 },
  nested: {
    type: 'object',
    properties: {
      list: {
        type: 'array',
        items: { type: 'object', properties: { x: { type: 'number' } }, required: ['x'] },
      },
      other: { $ref: '#/$defs/flag' },
    },
    required: ['list', 'other'],
    $defs: { flag: { anyOf: [{ type: 'boolean' }, { type: 'null' }] } },
  },
  'several types': { type: ['integer', 'string', 'null'], maxLength: 3 },
  'const with structure': { const: { a: [1, 'ü"', null] } },
  'a pattern anchored': { type: 'string', pattern: '^[A-Z]{2}-\\d{3}$' },
  'a pattern anywhere': { type: 'string', pattern: '[a-z]|"\\n' },
  numbers: { type: 'number' },
  'exclusive bounds': { type: 'integer', exclusiveMinimum: -12, exclusiveMaximum: 1005 },
  'an open range': { type: 'integer', minimum: 38 },
  'a range below zero': { type: 'integer', maximum: -7 },
};

describe('a JSON Schema', () => {
  it.each(Object.keys(SCHEMAS))('%s: what is written is valid', (name) => {
    const schema = SCHEMAS[name]!;
    const constraint = compile(schemaTree(schema));
    const validate = new Ajv({ allowUnionTypes: true, strictTypes: false }).compile(schema);
    const random = new DataRandom('schema', Object.keys(SCHEMAS).indexOf(name), 0, 0);
    let written = 0;
    for (let i = 0; i < 200; i++) {
      const text = randomText(constraint, () => random.next() / 2 ** 32, 30);
      if (text === undefined) continue;
      written++;
      expect(validate(JSON.parse(text)), text).toBe(true);
    }
    expect(written).toBeGreaterThan(20);
  });

  it('takes the texts that JSON.stringify writes, and one space after : and ,', () => {
    const constraint = compile(schemaTree(SCHEMAS['an object']));
    expect(accepts(constraint, '{"name":"Ann","age":30}')).toBe(true);
    expect(accepts(constraint, '{"name": "Ann", "age": 130, "a \\"key\\"/~": true}')).toBe(true);
    expect(accepts(constraint, '{"name":"\\u00e9\\n\\"😀","age":0}')).toBe(true);
    for (const bad of [
      '{"age":30,"name":"Ann"}',
      '{"name":"Ann"}',
      '{"name":"","age":1}',
      '{"name":"a","age":131}',
      '{"name":"a","age":01}',
      '{"name":"a","age":1,}',
      '{"name":"a","age":1} ',
    ]) {
      expect(accepts(constraint, bad), bad).toBe(false);
    }
  });

  it('writes the characters of a pattern as JSON does', () => {
    const constraint = compile(schemaTree({ type: 'string', pattern: '^["\\\\\\n\\x07a]{2}$' }));
    for (const value of ['""', 'a\\', '\n\x07'])
      expect(accepts(constraint, JSON.stringify(value))).toBe(true);
    for (const bad of ['"a"', '"aaa"', '"a""', '"ab"']) expect(accepts(constraint, bad)).toBe(false);
    const anywhere = compile(schemaTree({ type: 'string', pattern: 'a"' }));
    expect(accepts(anywhere, '"xa\\"y"')).toBe(true);
    expect(accepts(anywhere, '"xa"')).toBe(false);
  });

  it('knows every integer of a range', () => {
    for (const [minimum, maximum] of [
      [0, 0],
      [-3, 12],
      [7, 105],
      [99, 1001],
      [-1000, -99],
      [10, 19],
      [305, 4207],
    ] as const) {
      const constraint = compile(schemaTree({ type: 'integer', minimum, maximum }));
      for (let value = minimum - 120; value <= maximum + 120; value++) {
        expect(accepts(constraint, String(value)), `${value} in ${minimum}..${maximum}`).toBe(
          value >= minimum && value <= maximum,
        );
      }
    }
  });

  it.each([
    [{}, '#', 'needs a type'],
    [true, '#', 'any kind'],
    [{ type: 'strong' }, '#/type', 'is no type'],
    [{ type: 'string', minlength: 2 }, '#/minlength', 'not supported'],
    [{ type: 'number', minimum: 2 }, '#/minimum', 'not supported'],
    [{ type: 'array' }, '#', 'needs items'],
    [{ type: 'array', items: { type: 'null' }, minItems: 3, maxItems: 2 }, '#/minItems', 'above maxItems'],
    [
      { type: 'object', properties: { a: { type: 'null' } }, required: ['b'] },
      '#/required',
      '"b" is not among',
    ],
    [{ type: 'object', additionalProperties: true }, '#/additionalProperties', 'only false'],
    [
      { type: 'object', properties: { 'a/b': { type: 'string', pattern: '(' } } },
      '#/properties/a~1b/pattern',
      'not closed',
    ],
    [{ type: 'string', pattern: 'a', maxLength: 3 }, '#', 'only one can be given'],
    [{ type: 'string', format: 'email' }, '#/format', 'supported are'],
    [{ type: 'integer', minimum: 3, maximum: 2 }, '#', 'no integer'],
    [{ type: 'string', enum: [1] }, '#/enum', 'is not of the type'],
    [{ enum: [] }, '#/enum', 'at least one'],
    [{ $ref: '#/$defs/none' }, '#/$ref', 'nothing at'],
    [{ $ref: 'other.json' }, '#/$ref', 'within the schema'],
    [
      { $ref: '#/$defs/a', $defs: { a: { type: 'array', items: { $ref: '#/$defs/a' } } } },
      '#/$defs/a/items/$ref',
      'recursion',
    ],
    [{ allOf: [] }, '#', 'needs a type'],
  ])('%j is refused at %s', (schema, path, what) => {
    expect(() => schemaTree(schema)).toThrow(expect.objectContaining({ code: 'constraint_invalid', path }));
    expect(() => schemaTree(schema)).toThrow(what);
  });
});
