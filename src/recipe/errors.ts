/** Zod's issues about a recipe as one AnnealError: path, line, what is wrong, and the nearest known key. */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { nearest } from '../util/nearest.ts';

/** Where a key of the recipe stands (`recipe.yaml:12`), for messages. */
export type Locate = (path: readonly PropertyKey[]) => string;

/** The first issue of `value` as an error; `prefix` is its path in the recipe. */
export function recipeError(
  error: z.ZodError,
  schema: z.ZodType,
  value: unknown,
  prefix: readonly PropertyKey[],
  locate: Locate,
): AnnealError {
  // An unknown key is the likeliest cause of the others (a required key that is misspelt is also missing).
  const issues = error.issues.map(ofUnion);
  const issue = issues.find((candidate) => candidate.code === 'unrecognized_keys') ?? issues[0]!;
  const path = [...prefix, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!;
    return unknownKey([...path, key], knownKeys(schema, issue.path, value), locate);
  }
  const place = path.join('.');
  const meaning = descriptionAt(schema, issue.path, value);
  const choices = choicesOf(schemaAt(schema, issue.path, value));
  const message = messageOf(issue, choices);
  const given = issue.path.reduce(fieldOf, value);
  const guess = typeof given === 'string' ? nearest(given, choices) : undefined;
  const end = /[.?!]$/.test(message) ? '' : '.';
  return new AnnealError('recipe_invalid', `${locate(path)}: ${place}: ${message}${end}`, {
    path: place,
    hint: [
      ...(guess === undefined ? [] : [`Did you mean ${guess}?`]),
      missing(issue) ? `Add ${place} to the recipe.` : `Mend the value of ${place}.`,
      ...(meaning === undefined ? [] : [`It is: ${meaning}`]),
    ].join(' '),
  });
}

/**
 * An error of a stage's settings that was found with the model at hand, with the place of the stage in the recipe.
 * Other errors are returned as they are.
 */
export function atStage(
  error: unknown,
  stage: { name: string; settings: Readonly<Record<string, unknown>> },
  locate: Locate,
): unknown {
  if (!(error instanceof AnnealError) || error.path === undefined) return error;
  const inner = error.path.split('.');
  if (!Object.hasOwn(stage.settings, inner[0]!)) return error;
  const path = ['stages', stage.name, ...inner];
  const prefix = error.message.startsWith(error.path) ? `stages.${stage.name}.` : '';
  return new AnnealError(error.code, `${locate(path)}: ${prefix}${error.message}`, {
    path: path.join('.'),
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error,
  });
}

/** The error of a key that does not exist, naming the one that was probably meant. */
export function unknownKey(
  path: readonly PropertyKey[],
  known: readonly string[],
  locate: Locate,
): AnnealError {
  const place = path.join('.');
  const guess = nearest(String(path.at(-1)), known);
  return new AnnealError('recipe_invalid', `${locate(path)}: ${place} is not a known key.`, {
    path: place,
    hint: guess === undefined ? `Known here: ${known.join(', ')}.` : `Did you mean ${guess}?`,
  });
}

/** The documentation's words for kinds of values, by those of Zod. */
const KINDS: Readonly<Record<string, string>> = {
  array: 'list',
  int: 'integer',
  object: 'map',
  record: 'map',
  string: 'text',
};

function messageOf(issue: z.core.$ZodIssue, choices: readonly string[]): string {
  if (issue.code === 'custom') return issue.message;
  if (issue.code === 'invalid_format' && choices.length > 0) {
    const named = choices.map((choice) => JSON.stringify(choice)).join(' or ');
    return `Invalid input: expected ${named} or text that matches ${issue.pattern ?? issue.format}`;
  }
  return issue.message.replace(/(?<=expected |received | or )[a-z]+/g, (kind) => KINDS[kind] ?? kind);
}

function missing(issue: z.core.$ZodIssue): boolean {
  return (
    issue.code === 'invalid_type' && issue.input === undefined && /received undefined/.test(issue.message)
  );
}

/** Of a value that fits no member of a union: what is wrong with it as the member it is like, or all that it may be. */
function ofUnion(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return issue;
  const branches = issue.errors.map(([first]) => ofUnion(first!));
  const otherKind = ['invalid_type', 'invalid_value', 'invalid_format'];
  const within =
    branches.find(({ path }) => path.length > 0) ?? branches.find(({ code }) => !otherKind.includes(code));
  if (within) return { ...within, path: [...issue.path, ...within.path] };
  const expected = branches.flatMap((branch) => {
    if (branch.code === 'invalid_value') return branch.values.map((value) => JSON.stringify(value));
    if (branch.code === 'invalid_format') return [`text that matches ${branch.pattern ?? branch.format}`];
    return branch.code === 'invalid_type' ? [branch.expected] : [];
  });
  return { ...issue, message: `Invalid input: expected ${expected.join(' or ')}` } as z.core.$ZodIssue;
}

/** The texts that a schema takes, where it names some. */
function choicesOf(schema: z.ZodType | undefined): string[] {
  const inner = withoutDefault(schema);
  if (inner instanceof z.ZodEnum) return inner.options.map(String);
  return inner instanceof z.ZodUnion ? (inner.options as z.ZodType[]).flatMap(choicesOf) : [];
}

/** Keys of the object schema at a path inside `schema`, through optional, default and pipe wrappers. */
function knownKeys(schema: z.ZodType, path: readonly PropertyKey[], value: unknown): string[] {
  const found = objectAt(schema, path, value);
  return found instanceof z.ZodObject ? Object.keys(found.shape) : [];
}

/** What the documentation says of the key at a path, or of the nearest one above it. */
function descriptionAt(schema: z.ZodType, path: readonly PropertyKey[], value: unknown): string | undefined {
  for (let length = path.length; length > 0; length--) {
    const description = schemaAt(schema, path.slice(0, length), value)?.description;
    if (description !== undefined) return description;
  }
  return undefined;
}

/** The schema of what stands at a path inside `value`; which member of a union it is, its discriminator says. */
function schemaAt(schema: z.ZodType, path: readonly PropertyKey[], value: unknown): z.ZodType | undefined {
  let current: z.ZodType | undefined = schema;
  let part = value;
  for (const step of path) {
    const outer = unwrap(current, part);
    if (outer instanceof z.ZodObject) current = outer.shape[String(step)] as z.ZodType | undefined;
    else if (outer instanceof z.ZodArray) current = outer.element as z.ZodType;
    else if (outer instanceof z.ZodRecord) current = outer.valueType as z.ZodType;
    else return undefined;
    part = fieldOf(part, step);
  }
  return current;
}

/** The same without what wraps it. */
function objectAt(schema: z.ZodType, path: readonly PropertyKey[], value: unknown): z.ZodType | undefined {
  return unwrap(schemaAt(schema, path, value), path.reduce(fieldOf, value));
}

function fieldOf(value: unknown, key: PropertyKey): unknown {
  return value !== null && typeof value === 'object'
    ? (value as Record<PropertyKey, unknown>)[key]
    : undefined;
}

/** The schema of the value itself; of a union the member that `value` is like. */
function unwrap(schema: z.ZodType | undefined, value: unknown): z.ZodType | undefined {
  const inner = withoutDefault(schema);
  if (inner instanceof z.ZodDiscriminatedUnion) {
    const { discriminator } = inner.def;
    const kinds = (inner.options as z.ZodType[]).map((option) => unwrap(option, value));
    const given = fieldOf(value, discriminator);
    return kinds.find(
      (kind) =>
        kind instanceof z.ZodObject && (kind.shape[discriminator] as z.ZodType).safeParse(given).success,
    );
  }
  if (inner instanceof z.ZodUnion) {
    const kinds = (inner.options as z.ZodType[]).map((option) => unwrap(option, value));
    const kind = Array.isArray(value) ? z.ZodArray : z.ZodObject;
    return kinds.find((option) => option instanceof kind);
  }
  return inner;
}

/** A schema without what says that its value may be missing, or changes it afterwards. */
function withoutDefault(schema: z.ZodType | undefined): z.ZodType | undefined {
  let current = schema;
  for (;;) {
    if (
      current instanceof z.ZodOptional ||
      current instanceof z.ZodNullable ||
      current instanceof z.ZodDefault ||
      current instanceof z.ZodPrefault
    ) {
      current = current.unwrap() as z.ZodType;
    } else if (current instanceof z.ZodPipe) current = current.in as z.ZodType;
    else return current;
  }
}
