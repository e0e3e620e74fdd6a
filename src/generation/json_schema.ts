/**
 * JSON Schema to the tree of a regular expression: what `--json-schema` and `json_schema` of a request constrain an
 * answer to. Objects have their properties in the order of the schema and no others; between tokens of JSON stands
 * nothing but one space, which is optional, after `:` and `,`.
 *
 * Supported: `type` (one or several), `enum`, `const`, `anyOf`, `$ref` within the schema; `properties`, `required`;
 * `items`, `minItems`, `maxItems`; `minLength`, `maxLength`, `pattern`, `format` (date, time, date-time, uuid);
 * `minimum`, `maximum` and their exclusive forms for integers. Numbers have at most 15 digits on each side of the
 * point, and integers lie within 2^53, so that readers see the very value. Whatever else would narrow the values is refused, and
 * so is recursion: a regular expression cannot count levels.
 */
import { AnnealError } from '../../proto/errors.ts';
import { integerRange } from './integer_range.ts';
import { alternatives, complement, literal, type Node, parseRegex, repeat, sequence, set } from './regex.ts';

type Schema = Record<string, unknown>;

/** Keywords that say nothing about which values are valid. */
const REMARKS = new Set([
  '$schema',
  '$id',
  '$comment',
  '$defs',
  'definitions',
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
]);

const KEYWORDS: Record<string, readonly string[]> = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  number: [],
  boolean: [],
  null: [],
};

const FORMATS: Record<string, string> = {
  date: '\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])',
  time: '([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)',
  uuid: '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}',
};
FORMATS['date-time'] = `${FORMATS.date}T${FORMATS.time}`;

const QUOTE = literal('"');
const OPTIONAL_SPACE = repeat(literal(' '), 0, 1);
/** One character of a string: as it is, or one of the short escapes, or \u with four digits (no surrogates). */
const STRING_CHARACTER = parseRegex(
  '[^"\\\\\\x00-\\x1f]|\\\\(["\\\\/bfnrt]|u([0-9A-CEFa-cef][0-9A-Fa-f]{3}|[Dd][0-7][0-9A-Fa-f]{2}))',
).node;
const NUMBER = parseRegex('-?(0|[1-9]\\d{0,14})(\\.\\d{1,15})?([eE][+-]?\\d{1,2})?').node;

/** The tree of all texts of values that the schema allows, as written by the rules above. */
export function schemaTree(schema: unknown): Node {
  return new Translator(schema).value(schema, '#', []);
}

class Translator {
  readonly #root: unknown;

  constructor(root: unknown) {
    this.#root = root;
  }

  /** `open`: references that are being followed. */
  value(schema: unknown, at: string, open: readonly string[]): Node {
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
      fail(
        at,
        schema === true ? 'a value of any kind cannot be described' : 'this is not a schema (an object)',
      );
    }
    const node = schema as Schema;
    if ('$ref' in node) {
      this.#only(node, at, ['$ref']);
      return this.#reference(node.$ref, at, open);
    }
    if ('const' in node) {
      this.#only(node, at, ['const', 'type']);
      return this.#values([node.const], node, `${at}/const`);
    }
    if ('enum' in node) {
      this.#only(node, at, ['enum', 'type']);
      if (!Array.isArray(node.enum) || node.enum.length === 0)
        fail(`${at}/enum`, 'it must list at least one value');
      return this.#values(node.enum, node, `${at}/enum`);
    }
    if ('anyOf' in node) {
      this.#only(node, at, ['anyOf']);
      if (!Array.isArray(node.anyOf) || node.anyOf.length === 0)
        fail(`${at}/anyOf`, 'it must list at least one schema');
      return alternatives(node.anyOf.map((part, i) => this.value(part, `${at}/anyOf/${i}`, open)));
    }
    const types = Array.isArray(node.type) ? node.type : [node.type];
    if (node.type === undefined || types.length === 0)
      fail(at, 'it needs a type, enum, const, anyOf or $ref');
    for (const type of types) {
      if (typeof type !== 'string' || !(type in KEYWORDS))
        fail(`${at}/type`, `${JSON.stringify(type)} is no type`);
    }
    this.#only(node, at, ['type', ...types.flatMap((type) => KEYWORDS[type as string]!)]);
    return alternatives(types.map((type) => this.#typed(type as string, node, at, open)));
  }

  #values(values: readonly unknown[], node: Schema, at: string): Node {
    const types = node.type === undefined ? undefined : [node.type].flat();
    for (const value of values) {
      if (types && !types.some((type) => isOfType(value, type))) {
        fail(at, `${JSON.stringify(value)} is not of the type that the schema names`);
      }
    }
    return alternatives(values.map((value) => literal(JSON.stringify(value))));
  }

  #typed(type: string, node: Schema, at: string, open: readonly string[]): Node {
    switch (type) {
      case 'object':
        return this.#object(node, at, open);
      case 'array':
        return this.#array(node, at, open);
      case 'string':
        return sequence([QUOTE, this.#string(node, at), QUOTE]);
      case 'integer':
        return this.#integer(node, at);
      case 'number':
        return NUMBER;
      case 'boolean':
        return alternatives([literal('true'), literal('false')]);
      default:
        return literal('null');
    }
  }

  #object(node: Schema, at: string, open: readonly string[]): Node {
    const properties = node.properties ?? {};
    if (typeof properties !== 'object' || properties === null || Array.isArray(properties)) {
      fail(`${at}/properties`, 'it must be an object');
    }
    if (node.additionalProperties !== undefined && node.additionalProperties !== false) {
      fail(
        `${at}/additionalProperties`,
        'only false is supported: an answer has the properties that are listed',
      );
    }
    const required = node.required ?? [];
    if (!Array.isArray(required)) fail(`${at}/required`, 'it must be a list');
    for (const name of required) {
      if (typeof name !== 'string' || !Object.hasOwn(properties, name)) {
        fail(`${at}/required`, `${JSON.stringify(name)} is not among the properties`);
      }
    }
    const members = Object.entries(properties).map(([name, schema]) => ({
      required: required.includes(name),
      node: sequence([
        literal(`${JSON.stringify(name)}:`),
        OPTIONAL_SPACE,
        this.value(schema, `${at}/properties/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`, open),
      ]),
    }));
    const comma = sequence([literal(','), OPTIONAL_SPACE]);
    /** What may follow once a member has been written: each of the rest, with a comma before it. */
    const rest = (from: number): Node =>
      sequence(
        members
          .slice(from)
          .map((member) => repeat(sequence([comma, member.node]), member.required ? 1 : 0, 1)),
      );
    // One alternative for each member that may be the first, and one for none.
    const bodies: Node[] = [];
    for (const [index, member] of members.entries()) {
      bodies.push(sequence([member.node, rest(index + 1)]));
      if (member.required) break;
    }
    if (!members.some((member) => member.required)) bodies.push(sequence([]));
    return sequence([literal('{'), alternatives(bodies), literal('}')]);
  }

  #array(node: Schema, at: string, open: readonly string[]): Node {
    const [min, max] = this.#bounds(node, at, 'minItems', 'maxItems');
    if (max === 0) return literal('[]');
    if (node.items === undefined) fail(at, 'an array needs items: a value of any kind cannot be described');
    const item = this.value(node.items, `${at}/items`, open);
    const more = repeat(sequence([literal(','), OPTIONAL_SPACE, item]), Math.max(min - 1, 0), max - 1);
    const items = sequence([item, more]);
    return sequence([literal('['), min === 0 ? repeat(items, 0, 1) : items, literal(']')]);
  }

  #string(node: Schema, at: string): Node {
    const bounded = node.minLength !== undefined || node.maxLength !== undefined;
    const given = ['pattern', 'format'].filter((key) => node[key] !== undefined);
    if (given.length + (bounded ? 1 : 0) > 1) {
      fail(at, 'of lengths, pattern and format only one can be given: put the length into the pattern');
    }
    if (node.format !== undefined) {
      const format = typeof node.format === 'string' ? FORMATS[node.format] : undefined;
      if (format === undefined) fail(`${at}/format`, `supported are ${Object.keys(FORMATS).join(', ')}`);
      return parseRegex(format).node;
    }
    if (node.pattern !== undefined) return this.#pattern(node.pattern, `${at}/pattern`);
    const [min, max] = this.#bounds(node, at, 'minLength', 'maxLength');
    return repeat(STRING_CHARACTER, min, max);
  }

  /** By the standard a pattern may match anywhere, unless it is anchored. */
  #pattern(pattern: unknown, at: string): Node {
    if (typeof pattern !== 'string') fail(at, 'it must be a string');
    const parsed = (() => {
      try {
        return parseRegex(pattern);
      } catch (error) {
        throw error instanceof AnnealError
          ? new AnnealError('constraint_invalid', `JSON Schema, ${at}: ${error.message}`, {
              path: at,
              ...(error.hint === undefined ? {} : { hint: error.hint }),
            })
          : error;
      }
    })();
    const anything = repeat(STRING_CHARACTER, 0);
    const { start, end } = parsed.anchors;
    return sequence([...(start ? [] : [anything]), escaped(parsed.node), ...(end ? [] : [anything])]);
  }

  #integer(node: Schema, at: string): Node {
    const bound = (key: string): number | undefined => {
      const value = node[key];
      if (value === undefined) return undefined;
      if (typeof value !== 'number' || !Number.isFinite(value)) fail(`${at}/${key}`, 'it must be a number');
      if (Math.abs(value) > Number.MAX_SAFE_INTEGER) fail(`${at}/${key}`, 'it is beyond 2^53');
      return value;
    };
    const lows = [bound('minimum'), bound('exclusiveMinimum')].map((value, exclusive) =>
      value === undefined
        ? Number.MIN_SAFE_INTEGER
        : exclusive === 1
          ? Math.floor(value) + 1
          : Math.ceil(value),
    );
    const highs = [bound('maximum'), bound('exclusiveMaximum')].map((value, exclusive) =>
      value === undefined
        ? Number.MAX_SAFE_INTEGER
        : exclusive === 1
          ? Math.ceil(value) - 1
          : Math.floor(value),
    );
    const [low, high] = [Math.max(...lows), Math.min(...highs)];
    if (low > high) fail(at, 'no integer lies between the bounds');
    return integerRange(low, high);
  }

  #bounds(node: Schema, at: string, minKey: string, maxKey: string): [number, number] {
    const bound = (key: string, absent: number): number => {
      const value = node[key] ?? absent;
      if (value !== absent && (!Number.isInteger(value) || (value as number) < 0)) {
        fail(`${at}/${key}`, 'it must be a whole number');
      }
      return value as number;
    };
    const [min, max] = [bound(minKey, 0), bound(maxKey, Number.POSITIVE_INFINITY)];
    if (min > max) fail(`${at}/${minKey}`, `it is above ${maxKey}`);
    return [min, max];
  }

  #reference(reference: unknown, at: string, open: readonly string[]): Node {
    if (typeof reference !== 'string' || !reference.startsWith('#')) {
      fail(`${at}/$ref`, 'only references within the schema (#/...) are followed');
    }
    if (open.includes(reference)) {
      fail(`${at}/$ref`, `${reference} contains itself: recursion cannot be a regular expression`);
    }
    let target: unknown = this.#root;
    for (const part of reference.slice(1).split('/').slice(1)) {
      const key = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
      target =
        typeof target === 'object' && target !== null && Object.hasOwn(target, key)
          ? (target as Schema)[key]
          : fail(`${at}/$ref`, `there is nothing at ${reference}`);
    }
    return this.value(target, reference, [...open, reference]);
  }

  #only(node: Schema, at: string, known: readonly string[]): void {
    for (const key of Object.keys(node)) {
      if (!known.includes(key) && !REMARKS.has(key))
        fail(`${at}/${key}`, 'this keyword is not supported here');
    }
  }
}

function isOfType(value: unknown, type: unknown): boolean {
  if (value === null) return type === 'null';
  if (Array.isArray(value)) return type === 'array';
  if (typeof value === 'number') return type === 'number' || (type === 'integer' && Number.isInteger(value));
  return typeof value === type;
}

/** The characters of a tree as they are written inside a JSON string. */
function escaped(node: Node): Node {
  switch (node.kind) {
    case 'set': {
      const plain = complement(
        complement(node.ranges).concat([
          [0x00, 0x1f],
          [0x22, 0x22],
          [0x5c, 0x5c],
        ]),
      );
      const has = (code: number) => node.ranges.some(([low, high]) => code >= low && code <= high);
      const written = [0x22, 0x5c, ...Array(0x20).keys()].filter(has);
      const escapes = written.map((code) => literal(JSON.stringify(String.fromCharCode(code)).slice(1, -1)));
      return alternatives([set(plain), ...escapes]);
    }
    case 'sequence':
      return sequence(node.nodes.map(escaped));
    case 'alternatives':
      return alternatives(node.nodes.map(escaped));
    case 'repeat':
      return repeat(escaped(node.node), node.min, node.max);
  }
}

function fail(at: string, what: string): never {
  throw new AnnealError('constraint_invalid', `JSON Schema, ${at}: ${what}.`, {
    path: at,
    hint: 'docs/generation.md lists what is supported.',
  });
}
