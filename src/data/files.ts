/**
 * Data files by name, folder, glob pattern or URL: the setting that names them, and finding them in an order of
 * their own.
 */
import { glob, readdir, stat } from 'node:fs/promises';
import { basename, join, matchesGlob, resolve } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { asFileError, exists } from '../util/files.ts';
import { CachedUrl, isUrl } from './sources/cached_url.ts';
import { isArchiveName, isKnownName } from './sources/detect.ts';
import { fetchSources } from './sources/fetch.ts';
import type { SourceOptions, SourceSettings } from './sources/settings.ts';

/** The setting of a recipe that names data files: one name or pattern, or a list of them. */
export const dataFiles = z.union([
  z
    .string()
    .min(1)
    .transform((file) => [file]),
  z.array(z.string().min(1)).min(1),
]);

/** A file that a pattern names. */
export interface SourceFile {
  /** On this machine. */
  path: string;
  /** As messages and ledgers name it. */
  location: string;
  /** Which members of it are meant, if it is an archive: a name or glob pattern. */
  members: string | undefined;
}

/**
 * All files that the patterns name, relative ones starting from `baseDir`: patterns in the order given, the files of
 * one pattern by name, each file once. A folder stands for the data files below it, `archive!/pattern` for members
 * of an archive. A pattern that matches nothing is an error. Files that were found before are themselves.
 */
export async function resolveSources(
  patterns: readonly (string | SourceFile)[],
  baseDir: string,
  settings: Pick<SourceSettings, 'format'> = { format: 'auto' },
  options: SourceOptions = {},
): Promise<SourceFile[]> {
  const isFile = (name: string) => exists(resolve(baseDir, name));
  const split: (Pattern | SourceFile)[] = [];
  for (const pattern of patterns) {
    split.push(typeof pattern === 'string' ? await splitMembers(pattern, isFile) : pattern);
  }
  const urls = split.flatMap((each) => ('outer' in each && isUrl(each.outer) ? [each.outer] : []));
  const fetched = urls.length > 0 ? await fetchSources(urls, options) : new Map<string, string>();
  const found = new Map<string, SourceFile>();
  for (const each of split) {
    const files = 'outer' in each ? await sourcesOf(each, baseDir, settings, fetched) : [each];
    for (const file of files) found.set(`${file.location}!${file.members ?? ''}`, file);
  }
  return [...found.values()];
}

async function sourcesOf(
  { outer, members }: Pattern,
  baseDir: string,
  settings: Pick<SourceSettings, 'format'>,
  fetched: ReadonlyMap<string, string>,
): Promise<SourceFile[]> {
  if (isUrl(outer)) return [{ path: fetched.get(outer)!, location: outer, members }];
  return (await filesOf(outer, baseDir, settings)).map((path) => ({ path, location: path, members }));
}

/**
 * Of files that `resolveSources` found once, those that a pattern named then, whether they are still there or not. Of
 * a URL that is what it had when it was last fetched; nobody is asked.
 */
export async function sourcesAmong(
  paths: readonly string[],
  pattern: string,
  baseDir: string,
  settings: Pick<SourceSettings, 'format'>,
): Promise<SourceFile[]> {
  const { outer, members } = await splitMembers(pattern, async (name) =>
    paths.includes(resolve(baseDir, name)),
  );
  if (isUrl(outer)) {
    const path = await new CachedUrl(outer).before();
    return path !== undefined && paths.includes(path) ? [{ path, location: outer, members }] : [];
  }
  const name = resolve(baseDir, outer);
  const below = (path: string) =>
    path.startsWith(`${name}/`) && (settings.format !== 'auto' || isKnownName(basename(path)));
  return paths
    .filter((path) => path === name || below(path) || matchesGlob(path, name))
    .map((path) => ({ path, location: path, members }));
}

/** The paths of all files that the patterns name. */
export async function resolveFiles(
  patterns: readonly string[],
  baseDir: string,
  settings?: Pick<SourceSettings, 'format'>,
): Promise<string[]> {
  return [...new Set((await resolveSources(patterns, baseDir, settings)).map(({ path }) => path))];
}

/** `archive!/members` in its two parts. */
interface Pattern {
  outer: string;
  members: string | undefined;
}

/** A file may have such a name itself. */
async function splitMembers(pattern: string, isFile: (name: string) => Promise<boolean>): Promise<Pattern> {
  const border = pattern.indexOf('!/');
  if (border <= 0 || (!isUrl(pattern) && (await isFile(pattern)))) {
    return { outer: pattern, members: undefined };
  }
  return { outer: pattern.slice(0, border), members: pattern.slice(border + 2) };
}

async function filesOf(
  pattern: string,
  baseDir: string,
  settings: Pick<SourceSettings, 'format'>,
): Promise<string[]> {
  const [scheme] = /^[a-z][a-z0-9+.-]+:\/\//i.exec(pattern) ?? [];
  if (scheme !== undefined) {
    throw new AnnealError('file_not_found', `${pattern} cannot be read: ${scheme} is no address of data.`, {
      path: pattern,
      hint: 'Name a file, folder or pattern of this machine, or an address that begins with https:// or http://.',
    });
  }
  const matches = /[*?[\]{}]/.test(pattern) ? await globFiles(pattern, baseDir) : [];
  if (matches.length > 0) return matches;
  // A name with glob characters in it may also be a file's own name.
  const path = resolve(baseDir, pattern);
  const mark = pattern.indexOf('!');
  if (isArchiveName(pattern.slice(0, Math.max(0, mark))) && !(await exists(path))) {
    throw new AnnealError('file_not_found', `No data file matches ${pattern}.`, {
      path: pattern,
      hint: `Members of an archive are named behind "!/": ${pattern.slice(0, mark)}!/${pattern.slice(mark + 1)}`,
    });
  }
  if (!(await isFolder(path))) return [await requireFile(path, pattern)];
  const files = await filesBelow(path, settings.format !== 'auto');
  if (files.length > 0) return files;
  throw new AnnealError('file_not_found', `${path} has no files with the name of a data file.`, {
    path,
    hint: 'Say what its files are with format, or name them by a pattern.',
  });
}

async function globFiles(pattern: string, baseDir: string): Promise<string[]> {
  const paths: string[] = [];
  for await (const match of glob(pattern, { cwd: baseDir })) {
    const path = resolve(baseDir, match);
    if (await isFile(path)) paths.push(path);
  }
  return paths.sort(byName);
}

/** The data files below a folder, by path; hidden ones are passed over, and links to folders, which may be circular. */
async function filesBelow(folder: string, all: boolean): Promise<string[]> {
  const paths: string[] = [];
  let entries: import('node:fs').Dirent[];
  try {
    entries = await readdir(folder, { recursive: true, withFileTypes: true });
  } catch (error) {
    const { code, path = folder } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' || path === folder) throw asFileError(error, path);
    throw new AnnealError('file_not_found', `${path} vanished while the files below ${folder} were listed.`, {
      path,
      hint: 'Name the folders that hold the data, or its files by a pattern.',
      cause: error,
    });
  }
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    const hidden = path
      .slice(folder.length + 1)
      .split('/')
      .some((part) => part.startsWith('.'));
    if (hidden || !(all || isKnownName(entry.name))) continue;
    if (entry.isSymbolicLink() ? await isFile(path) : entry.isFile()) paths.push(path);
  }
  return paths.sort(byName);
}

function byName(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Of what a pattern or folder holds; a link to nothing is an error. */
async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    (error: unknown) => {
      throw asFileError(error, path);
    },
  );
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
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
