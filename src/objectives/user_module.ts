/**
 * Objectives of the user's own: an ES module named in the recipe, whose default export gets arrays of numbers and
 * returns arrays of numbers. It has to be a function of its arguments: a run that goes on after a stop calls it again.
 */
import { pathToFileURL } from 'node:url';
import { AnnealError } from '../../proto/errors.ts';

export interface UserFunction {
  /** Calls it; `names` are the arrays that it returns, of `count` finite numbers each, one for each `of`. */
  call<Name extends string>(
    args: unknown[],
    names: readonly Name[],
    count: number,
    of: string,
  ): Record<Name, ArrayLike<number>>;
}

/** Loads a module; `place` is where the recipe names it, `hint` says what its default export is. */
export async function loadUserFunction(file: string, place: string, hint: string): Promise<UserFunction> {
  const failed = (problem: string, cause?: unknown) =>
    new AnnealError('objective_invalid', `${file} ${problem}`, { path: place, hint, cause });
  let loaded: { default?: unknown };
  try {
    loaded = (await import(pathToFileURL(file).href)) as { default?: unknown };
  } catch (error) {
    throw failed(`cannot be loaded: ${message(error)}`, error);
  }
  const own = loaded.default;
  if (typeof own !== 'function') throw failed('has no function as its default export.');
  return {
    call(args, names, count, of) {
      let values: unknown;
      try {
        values = (own as (...args: unknown[]) => unknown)(...args);
      } catch (error) {
        throw failed(`threw an error: ${message(error)}`, error);
      }
      checkArrays(values, names, count, of, failed);
      return values;
    },
  };
}

function checkArrays<Name extends string>(
  values: unknown,
  names: readonly Name[],
  count: number,
  of: string,
  failed: (problem: string) => AnnealError,
): asserts values is Record<Name, ArrayLike<number>> {
  if (values === null || typeof values !== 'object') throw failed('returned no object.');
  if (values instanceof Promise) throw failed('returned a promise; it must return its values at once.');
  for (const name of names) {
    const array = (values as Record<string, unknown>)[name];
    if (!Array.isArray(array) && !ArrayBuffer.isView(array)) throw failed(`returned no array \`${name}\`.`);
    const numbers = array as ArrayLike<unknown>;
    if (numbers.length !== count) {
      throw failed(`returned ${numbers.length} numbers in \`${name}\` for ${count} ${of}.`);
    }
    for (let i = 0; i < count; i++) {
      if (typeof numbers[i] !== 'number' || !Number.isFinite(numbers[i])) {
        throw failed(`returned ${String(numbers[i])} as ${name}[${i}].`);
      }
    }
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
