/** Reading recipes and overrides from the command line. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { InvalidArgumentError, Option } from 'commander';
import { AnnealError } from '../../proto/errors.ts';

export interface Override {
  key: string;
  value: string;
}

export interface RecipeOptions {
  set: Override[];
}

/** `--set KEY=VALUE`, any number of times. */
export function overrideOption(): Option {
  return new Option('-s, --set <key=value>', 'override a setting of the recipe; can be repeated')
    .argParser<Override[]>((word, before) => [...(before ?? []), parseOverride(word)])
    .default([], 'none');
}

function parseOverride(word: string): Override {
  const at = word.indexOf('=');
  if (at <= 0)
    throw new InvalidArgumentError('It must be KEY=VALUE, such as stages.pretrain.learning_rate=1e-3.');
  return { key: word.slice(0, at).trim(), value: word.slice(at + 1) };
}

/** Parser of an option that takes a whole number. */
export function integer(least = Number.MIN_SAFE_INTEGER): (word: string) => number {
  return (word) => {
    const value = /^[+-]?\d+$/.test(word.trim()) ? Number(word) : Number.NaN;
    if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('It must be a whole number.');
    if (value < least) throw new InvalidArgumentError(`It must be at least ${least}.`);
    return value;
  };
}

/** Parser of an option that takes a number within bounds. */
export function number(least: number, most = Number.POSITIVE_INFINITY): (word: string) => number {
  return (word) => {
    const value = word.trim() === '' ? Number.NaN : Number(word);
    if (Number.isNaN(value)) throw new InvalidArgumentError('It must be a number.');
    if (value < least || value > most) {
      const bounds = Number.isFinite(most) ? `from ${least} to ${most}` : `at least ${least}`;
      throw new InvalidArgumentError(`It must be ${bounds}.`);
    }
    return value;
  };
}

/** A recipe as the daemon takes it: text of the file (`-`: standard input) and the folder its paths start from. */
export async function readRecipe(
  path: string,
  set: Override[],
): Promise<{ recipe: string; base_dir: string; source: string; set: Override[] }> {
  if (path === '-')
    return { recipe: await text(process.stdin), base_dir: process.cwd(), source: 'standard input', set };
  const recipe = await readTextFile(
    path,
    'Name a recipe: a YAML file with stages. recipes/ has some to start from.',
  );
  return { recipe, base_dir: dirname(resolve(path)), source: path, set };
}

/** A text file that the user named; the error says what is wrong with the path. */
export async function readTextFile(path: string, hint: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT')
      throw new AnnealError('file_not_found', `There is no file ${path}.`, { hint, path, cause });
    const why = code === 'EISDIR' ? 'it is a folder' : code === 'EACCES' ? 'permission denied' : String(code);
    throw new AnnealError('file_unreadable', `${path} cannot be read: ${why}.`, { hint, path, cause });
  }
}
