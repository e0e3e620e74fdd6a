/** Data files by name or glob pattern: the setting that names them, and finding them in an order of their own. */
import { glob, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { asFileError } from '../util/files.ts';

/** The setting of a recipe that names data files: one name or pattern, or a list of them. */
export const dataFiles = z.union([
  z
    .string()
    .min(1)
    .transform((file) => [file]),
  z.array(z.string().min(1)).min(1),
]);

/**
 * Absolute paths of all files that the patterns name, relative ones starting from `baseDir`: patterns in the order
 * given, the files of one pattern by name, each file once. A pattern that matches nothing is an error.
 */
export async function resolveFiles(patterns: readonly string[], baseDir: string): Promise<string[]> {
  const found = new Set<string>();
  for (const pattern of patterns) {
    const matches = /[*?[\]{}]/.test(pattern) ? await globFiles(pattern, baseDir) : [];
    // A name with glob characters in it may also be a file's own name.
    if (matches.length === 0) matches.push(await requireFile(resolve(baseDir, pattern), pattern));
    for (const path of matches) found.add(path);
  }
  return [...found];
}

async function globFiles(pattern: string, baseDir: string): Promise<string[]> {
  const paths: string[] = [];
  for await (const match of glob(pattern, { cwd: baseDir })) {
    const path = resolve(baseDir, match);
    if ((await stat(path)).isFile()) paths.push(path);
  }
  return paths.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** A file that a setting names; `pattern` is how it names it. One that is missing, or a folder, is an error. */
export async function requireFile(path: string, pattern: string): Promise<string> {
  try {
    if ((await stat(path)).isFile()) return path;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw asFileError(error, path);
    throw new AnnealError(
      'file_not_found',
      pattern === path ? `${path} does not exist.` : `No data file matches ${pattern} (looked for ${path}).`,
      {
        path,
        hint: 'Relative paths start from the folder of the recipe.',
        cause: error,
      },
    );
  }
  throw new AnnealError('file_unreadable', `${path} is a folder, not a data file.`, {
    path,
    hint: `Name its files, for example ${pattern.replace(/\/$/, '')}/*.jsonl.`,
  });
}
