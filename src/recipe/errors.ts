/** Zod's issues about a recipe as one AnnealError: path, line, what is wrong, and the nearest known key. */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { nearest } from '../util/nearest.ts';

/** Where a key of the recipe stands (`recipe.yaml:12`), for messages. */
export type Locate = (path: readonly PropertyKey[]) => string;

/** The first issue as an error; `prefix` is the path of the checked value in the recipe. */
export function recipeError(
  error: z.ZodError,
  schema: z.ZodType,
  prefix: readonly PropertyKey[],
  locate: Locate,
): AnnealError {
  // An unknown key is the likeliest cause of the others (a required key that is misspelt is also missing).
  const issue = error.issues.find((candidate) => candidate.code === 'unrecognized_keys') ?? error.issues[0]!;
  const path = [...prefix, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!;
    return unknownKey([...path, key], knownKeys(schema, issue.path), locate);
  }
  const place = path.join('.');
  return new AnnealError('recipe_invalid', `${locate(path)}: ${place}: ${issue.message}.`, {
    path: place,
    hint: missing(issue) ? `Add ${place} to the recipe.` : `Mend the value of ${place}.`,
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

function missing(issue: z.core.$ZodIssue): boolean {
  return (
    issue.code === 'invalid_type' && issue.input === undefined && /received undefined/.test(issue.message)
  );
}

/** Keys of the object schema at a path inside `schema`, through optional, default and pipe wrappers. */
function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let current: z.ZodType | undefined = unwrap(schema);
  for (const step of path) {
    if (current instanceof z.ZodObject)
      current = unwrap(current.shape[String(step)] as z.ZodType | undefined);
    else if (current instanceof z.ZodArray) current = unwrap(current.element as z.ZodType);
    else if (current instanceof z.ZodRecord) current = unwrap(current.valueType as z.ZodType);
    else return [];
  }
  return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
}

function unwrap(schema: z.ZodType | undefined): z.ZodType | undefined {
  let current = schema;
  while (current !== undefined) {
    if (
      current instanceof z.ZodOptional ||
      current instanceof z.ZodNullable ||
      current instanceof z.ZodDefault
    ) {
      current = current.unwrap() as z.ZodType;
    } else if (current instanceof z.ZodPrefault) {
      current = current.unwrap() as z.ZodType;
    } else if (current instanceof z.ZodPipe) {
      current = current.in as z.ZodType;
    } else if (current instanceof z.ZodUnion) {
      current = (current.options as z.ZodType[]).find((option) => unwrap(option) instanceof z.ZodObject);
    } else {
      return current;
    }
  }
  return undefined;
}
