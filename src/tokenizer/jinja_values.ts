/** Values of the Jinja interpreter, and what Python does with them: text, equality, methods of text. */
import { Environment } from '@huggingface/jinja';

/** A value while a template is rendered; `type` is the library's name of its class. */
export interface Value {
  type: string;
  value: unknown;
}
interface StringValue extends Value {
  value: string;
}
interface ArrayValue extends Value {
  value: Value[];
}
interface MappingValue extends Value {
  value: Map<string, Value>;
}

export const isString = (value: Value): value is StringValue => value.type === 'StringValue';
export const isArray = (value: Value): value is ArrayValue => Array.isArray(value.value);
export const isMapping = (value: Value): value is MappingValue => value.value instanceof Map;
export const isUndefined = (value: Value): boolean => value.type === 'UndefinedValue';

/** A plain value, or a function of plain ones, as templates see it. Mappings reach functions as Maps, by identity. */
export function jinjaValue(plain: unknown): Value {
  return new Environment().set('value', plain) as unknown as Value;
}

/** The library exports no classes of values: these are theirs, found by what it makes of plain ones. */
function classOf(sample: unknown): new (value: unknown) => Value {
  return jinjaValue(sample).constructor as new (
    value: unknown,
  ) => Value;
}
const Text = classOf('');
const Whole = classOf(0);
const Truth = classOf(true);
const List = classOf([]);

export const jinjaString = (value: string): Value => new Text(value);
export const jinjaInteger = (value: number): Value => new Whole(value);
export const jinjaBoolean = (value: boolean): Value => new Truth(value);
export const jinjaArray = (value: readonly Value[]): Value => new List(value);

/** `str(value)`; nothing for what is undefined. */
export function pythonText(value: Value): string {
  if (isString(value)) return value.value;
  return isUndefined(value) ? '' : repr(value);
}

/** `repr(value)` of what JSON can hold. */
function repr(value: Value): string {
  if (isString(value)) return quoted(value.value);
  if (isArray(value)) return `[${value.value.map(repr).join(', ')}]`;
  if (isMapping(value)) {
    return `{${[...value.value].map(([key, each]) => `${quoted(key)}: ${repr(each)}`).join(', ')}}`;
  }
  switch (value.type) {
    case 'NullValue':
      return 'None';
    case 'BooleanValue':
      return value.value === true ? 'True' : 'False';
    default:
      return String(value);
  }
}

/** A text as Python quotes it: in single quotes, unless only they occur in it. */
function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const named: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };
  let result = '';
  for (const character of text) {
    const point = character.codePointAt(0)!;
    if (character === quote) result += `\\${quote}`;
    else if (named[character] !== undefined) result += named[character];
    else if (point < 0x20 || point === 0x7f) result += `\\x${point.toString(16).padStart(2, '0')}`;
    else result += character;
  }
  return quote + result + quote;
}

/** `left == right`. */
export function pythonEquals(left: Value, right: Value): boolean {
  if (isArray(left) && isArray(right)) {
    return (
      left.value.length === right.value.length &&
      left.value.every((each, i) => pythonEquals(each, right.value[i]!))
    );
  }
  if (isMapping(left) && isMapping(right)) {
    if (left.value.size !== right.value.size) return false;
    return [...left.value].every(([key, each]) => {
      const other = right.value.get(key);
      return other !== undefined && pythonEquals(each, other);
    });
  }
  const [a, b] = [scalar(left), scalar(right)];
  return a === b && isUndefined(left) === isUndefined(right);
}

/** Truth values are numbers in Python. */
function scalar(value: Value): unknown {
  return value.type === 'BooleanValue' ? Number(value.value) : value.value;
}

/** What `str.strip` takes away without arguments. */
const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const LEADING_SPACE = new RegExp(`^[${SPACE}]+`);
/** What `str.splitlines` cuts at. */
const LINE_ENDS = '\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029';
const LINE_END = new RegExp(`\\r\\n|[${LINE_ENDS}]`);
const TRAILING_SPACE = new RegExp(`[${SPACE}]+$`);

/** `strip`, `lstrip` and `rstrip`. */
export function pythonStrip(
  text: string,
  chars: string | undefined,
  side: 'both' | 'left' | 'right',
): string {
  if (chars === undefined) {
    const left = side === 'right' ? text : text.replace(LEADING_SPACE, '');
    return side === 'left' ? left : left.replace(TRAILING_SPACE, '');
  }
  const set = new Set(chars);
  const points = [...text];
  let [start, end] = [0, points.length];
  if (side !== 'right') while (start < end && set.has(points[start]!)) start += 1;
  if (side !== 'left') while (end > start && set.has(points[end - 1]!)) end -= 1;
  return points.slice(start, end).join('');
}

/** `str.capitalize`. */
export function capitalized(text: string): string {
  const [first = '', ...rest] = text;
  return first.toUpperCase() + rest.join('').toLowerCase();
}

/** `str.title`, for words of letters. */
export function titled(text: string): string {
  return text.replace(/\p{L}+/gu, capitalized);
}

/** The methods of text that are done here; the library has others, or does these otherwise. */
export const STRING_METHODS: ReadonlySet<string> = new Set([
  'strip',
  'lstrip',
  'rstrip',
  'split',
  'rsplit',
  'splitlines',
  'join',
  'find',
  'count',
  'capitalize',
  'title',
  'removeprefix',
  'removesuffix',
  'isdigit',
]);

/** Calls one of STRING_METHODS. */
export function callMethod(
  text: string,
  name: string,
  args: readonly Value[],
  named: ReadonlyMap<string, Value>,
): Value {
  const given = (i: number, key: string): Value | undefined => args[i] ?? named.get(key);
  const textAt = (i: number, key: string): string | undefined => {
    const value = given(i, key);
    if (value === undefined || value.type === 'NullValue') return undefined;
    if (!isString(value)) throw new Error(`${name}() needs text, not ${pythonText(value)}`);
    return value.value;
  };
  const needed = (i: number, key: string): string => {
    const value = textAt(i, key);
    if (value === undefined) throw new Error(`${name}() needs an argument`);
    return value;
  };
  switch (name) {
    case 'strip':
      return jinjaString(pythonStrip(text, textAt(0, 'chars'), 'both'));
    case 'lstrip':
      return jinjaString(pythonStrip(text, textAt(0, 'chars'), 'left'));
    case 'rstrip':
      return jinjaString(pythonStrip(text, textAt(0, 'chars'), 'right'));
    case 'split':
    case 'rsplit': {
      const most = given(1, 'maxsplit')?.value;
      const limit = typeof most === 'number' && most >= 0 ? most : Number.POSITIVE_INFINITY;
      return jinjaArray(split(text, textAt(0, 'sep'), limit, name === 'rsplit').map(jinjaString));
    }
    case 'splitlines':
      return jinjaArray(splitLines(text).map(jinjaString));
    case 'join': {
      const items = args[0];
      if (items === undefined || !isArray(items)) throw new Error('join() needs a list');
      if (!items.value.every(isString)) throw new Error('join() needs a list of texts');
      return jinjaString(items.value.map(({ value }) => value).join(text));
    }
    case 'find': {
      const at = text.indexOf(needed(0, 'sub'));
      return jinjaInteger(at < 0 ? at : [...text.slice(0, at)].length);
    }
    case 'count':
      return jinjaInteger(occurrences(text, needed(0, 'sub')));
    case 'capitalize':
      return jinjaString(capitalized(text));
    case 'title':
      return jinjaString(titled(text));
    case 'removeprefix': {
      const prefix = needed(0, 'prefix');
      return jinjaString(text.startsWith(prefix) ? text.slice(prefix.length) : text);
    }
    case 'removesuffix': {
      const suffix = needed(0, 'suffix');
      return jinjaString(suffix !== '' && text.endsWith(suffix) ? text.slice(0, -suffix.length) : text);
    }
    case 'isdigit':
      return jinjaBoolean(/^\p{Nd}+$/u.test(text));
    default:
      throw new Error(`text has no method ${name}`);
  }
}

function split(text: string, separator: string | undefined, limit: number, fromRight: boolean): string[] {
  if (separator === '') throw new Error('empty separator');
  if (separator !== undefined) {
    const parts = text.split(separator);
    if (parts.length - 1 <= limit) return parts;
    return fromRight
      ? [parts.slice(0, parts.length - limit).join(separator), ...parts.slice(parts.length - limit)]
      : [...parts.slice(0, limit), parts.slice(limit).join(separator)];
  }
  const words = [...text.matchAll(new RegExp(`[^${SPACE}]+`, 'g'))];
  if (words.length - 1 <= limit) return words.map(([word]) => word);
  if (fromRight) {
    const cut = words.length - limit;
    const last = words[cut - 1]!;
    const head = text.slice(0, last.index + last[0].length).replace(LEADING_SPACE, '');
    return [head, ...words.slice(cut).map(([word]) => word)];
  }
  return [...words.slice(0, limit).map(([word]) => word), text.slice(words[limit]!.index)];
}

function splitLines(text: string): string[] {
  const lines = text.split(LINE_END);
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

function occurrences(text: string, part: string): number {
  if (part === '') return [...text].length + 1;
  return text.split(part).length - 1;
}
