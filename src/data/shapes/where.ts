/**
 * Row filters, as data and not as code: `where: { language: en, stars: { min: 10 } }` keeps the rows of which all of
 * it holds; a list of such maps keeps those of which one holds. Formats without types (CSV) have numbers and truths
 * as text: they are compared as what the recipe gives.
 */
import { z } from 'zod';
import { type FieldPath, fieldPath, valueAt } from './roles.ts';

const scalar = z.union([z.string(), z.number(), z.boolean()]);
type Scalar = z.output<typeof scalar>;
const bound = z.union([z.number(), z.string().min(1)]);

const regex = z.string().refine((source) => {
  try {
    new RegExp(source, 'u');
    return true;
  } catch {
    return false;
  }
}, 'is not a regular expression');

const tests = {
  is: scalar.optional().describe('The value is this.'),
  in: z.array(scalar).min(1).optional().describe('The value is one of these.'),
  min: bound.optional().describe('The value is this or more; texts (dates) by their letters.'),
  max: bound.optional().describe('The value is this or less.'),
  matches: regex.optional().describe('The regular expression is found in the text.'),
  contains: scalar.optional().describe('The list has this item, or the text this part.'),
  min_length: z.int().min(0).optional().describe('Characters of a text, items of a list: at least so many.'),
  max_length: z.int().min(0).optional(),
  exists: z.boolean().optional().describe('The row has a value there, or has none.'),
};
const plainTest = z.strictObject(tests);
const test = z
  .strictObject({
    ...tests,
    not: z.union([scalar, plainTest]).optional().describe('The opposite of a value or of such tests.'),
  })
  .refine((given) => Object.values(given).some((value) => value !== undefined), 'says nothing');
type Test = z.output<typeof test>;

const allOf = z
  .record(z.string().min(1), z.union([scalar, test]))
  .refine((fields) => Object.keys(fields).length > 0, 'names no field');

/** The setting `where`: a map from fields (dotted paths) to values or tests, or a list of such maps. */
export const whereSetting = z.union([allOf, z.array(allOf).min(1)]);
export type WhereSetting = z.output<typeof whereSetting>;

type Check = (value: unknown) => boolean;

interface Condition {
  path: FieldPath;
  check: Check;
}

/** A filter made ready; it counts what it sees, so that a field that no row has can be told. */
export class RowFilter {
  readonly #any: readonly (readonly Condition[])[];
  readonly #unseen: Set<string>;
  #rows = 0;
  #kept = 0;

  constructor(setting: WhereSetting | undefined) {
    this.#any = [setting ?? []].flat().map((fields) =>
      Object.entries(fields).map(([name, wanted]) => ({
        path: fieldPath(name),
        check: typeof wanted === 'object' ? testOf(wanted) : equals(wanted),
      })),
    );
    this.#unseen = new Set(this.#any.flatMap((all) => all.map(({ path }) => path.name)));
  }

  /** Whether a row is kept. */
  keeps(fields: Record<string, unknown>): boolean {
    if (this.#any.length === 0) return true;
    this.#rows += 1;
    if (this.#unseen.size > 0) {
      for (const name of this.#unseen) {
        if (valueAt(fields, fieldPath(name)) !== undefined) this.#unseen.delete(name);
      }
    }
    const kept = this.#any.some((all) => all.every(({ path, check }) => check(valueAt(fields, path))));
    if (kept) this.#kept += 1;
    return kept;
  }

  /** Rows that were left out. */
  get leftOut(): number {
    return this.#rows - this.#kept;
  }

  /** What the filter did, for people; undefined where there is none. */
  describe(): string | undefined {
    if (this.#rows === 0) return undefined;
    const unseen = [...this.#unseen];
    const missing = unseen.length === 0 ? '' : `; no row has ${unseen.join(' or ')}`;
    return `where keeps ${this.#kept} of ${this.#rows} rows${missing}`;
  }
}

function testOf(given: Test): Check {
  const checks: Check[] = [];
  const { is, in: oneOf, min, max, matches, contains, min_length, max_length, exists, not } = given;
  if (is !== undefined) checks.push(equals(is));
  if (oneOf !== undefined) {
    const each = oneOf.map(equals);
    checks.push((value) => each.some((check) => check(value)));
  }
  if (min !== undefined) checks.push((value) => (compare(value, min) ?? -1) >= 0);
  if (max !== undefined) checks.push((value) => (compare(value, max) ?? 1) <= 0);
  if (matches !== undefined) {
    const pattern = new RegExp(matches, 'u');
    checks.push((value) => {
      const text = textOf(value);
      return text !== undefined && pattern.test(text);
    });
  }
  if (contains !== undefined) checks.push(containing(contains));
  if (min_length !== undefined) checks.push((value) => (lengthOf(value) ?? -1) >= min_length);
  if (max_length !== undefined)
    checks.push((value) => (lengthOf(value) ?? Number.POSITIVE_INFINITY) <= max_length);
  if (exists !== undefined) checks.push((value) => (value !== undefined && value !== null) === exists);
  if (not !== undefined) {
    const check = typeof not === 'object' ? testOf(not) : equals(not);
    checks.push((value) => !check(value));
  }
  return (value) => checks.every((check) => check(value));
}

function equals(wanted: Scalar): Check {
  switch (typeof wanted) {
    case 'string':
      return (value) => textOf(value) === wanted;
    case 'number':
      return (value) => numberOf(value) === wanted;
    default:
      return (value) =>
        value === wanted || (typeof value === 'string' && value.toLowerCase() === `${wanted}`);
  }
}

function containing(wanted: Scalar): Check {
  const item = equals(wanted);
  return (value) =>
    Array.isArray(value) ? value.some(item) : typeof value === 'string' && value.includes(`${wanted}`);
}

/** Below 0, 0 or above 0 as the value is less, equal or more; undefined where they cannot be compared. */
function compare(value: unknown, wanted: number | string): number | undefined {
  if (typeof wanted === 'number') {
    const number = numberOf(value);
    return number === undefined ? undefined : number - wanted;
  }
  const text = textOf(value);
  return text === undefined ? undefined : text < wanted ? -1 : text > wanted ? 1 : 0;
}

function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  return typeof value === 'string' && /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i.test(value)
    ? Number(value)
    : undefined;
}

function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? undefined : value.toISOString();
  return ['number', 'bigint', 'boolean'].includes(typeof value) ? `${value as number}` : undefined;
}

/** Characters of a text (a surrogate pair is one), items of a list. */
function lengthOf(value: unknown): number | undefined {
  if (Array.isArray(value)) return value.length;
  if (typeof value !== 'string') return undefined;
  let pairs = 0;
  for (let i = 1; i < value.length; i++) {
    if ((value.charCodeAt(i) & 0xfc00) === 0xdc00 && (value.charCodeAt(i - 1) & 0xfc00) === 0xd800)
      pairs += 1;
  }
  return value.length - pairs;
}
