/**
 * Files that are complete or absent: temporary name, fsync, rename, fsync of the folder. A reader never sees a
 * half-written file, and what was renamed survives a power loss. Sizes are in bytes.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, open, readdir, readFile, rename, rm, stat, statfs, symlink } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';

/** Makes the entries of a folder (created, renamed, removed names) durable. */
export async function fsyncDir(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the content of a file durable. */
export async function fsyncFile(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a file so that its path holds either the old content or all of the new one. */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const handle = await open(temporary, 'wx', 0o666);
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
    await fsyncDir(folder);
  } catch (error) {
    await rm(temporary, { force: true });
    throw asFileError(error, path);
  }
}

/**
 * Gives a finished folder its final name. Its files must have been fsynced by their writers; the folders
 * themselves are fsynced here. An existing folder at `to` is replaced.
 */
export async function renameDirAtomic(from: string, to: string): Promise<void> {
  try {
    await fsyncDir(from);
    if (await exists(to)) {
      // rename(2) does not replace a folder that is not empty: the old one steps aside under a name that
      // no reader looks at, and goes once the new one is in place.
      const old = join(dirname(to), `.${basename(to)}.${randomBytes(6).toString('hex')}.old`);
      await rename(to, old);
      await rename(from, to);
      await fsyncDir(dirname(to));
      await rm(old, { recursive: true, force: true });
    } else {
      await rename(from, to);
      await fsyncDir(dirname(to));
    }
  } catch (error) {
    throw asFileError(error, to);
  }
}

/** Makes `link` a link to a folder, by a relative path; an earlier link of this name is replaced. */
export async function linkAtomic(folder: string, link: string): Promise<void> {
  const dir = dirname(link);
  await makeDir(dir);
  const temporary = join(dir, `.${basename(link)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await symlink(relative(dir, folder), temporary);
    await rename(temporary, link);
  } catch (error) {
    throw asFileError(error, link);
  }
  await fsyncDir(dir);
}

/** fsyncs every file and folder below `dir`, for folders that other writers filled. */
export async function fsyncTree(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) await fsyncTree(path);
    else if (entry.isFile()) await fsyncFile(path);
  }
  await fsyncDir(dir);
}

/** Whether something exists at the path. */
export async function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}

/** Bytes that an ordinary user may still write on the file system of `path` (or of its nearest parent). */
export async function freeDiskBytes(path: string): Promise<number> {
  let folder = path;
  while (!(await exists(folder)) && dirname(folder) !== folder) folder = dirname(folder);
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** Refuses (`disk_full`) when `bytes` more would not fit on the file system of `path`. */
export async function requireDiskSpace(path: string, bytes: number, what: string): Promise<void> {
  const free = await freeDiskBytes(path);
  if (free < bytes) {
    throw new AnnealError(
      'disk_full',
      `${what} needs ${formatBytes(bytes)}, but ${path} has ${formatBytes(free)} left.`,
      {
        hint: 'Free some space, keep fewer checkpoints (keep_last), or set ANNEAL_HOME to a larger disk.',
        path,
      },
    );
  }
}

/** Total size of the files below a folder. */
export async function folderBytes(dir: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) total += await folderBytes(path);
    else if (entry.isFile()) total += (await stat(path)).size;
  }
  return total;
}

/**
 * Makes a folder and those above it. Node's own `recursive` never ends where a file system answers that a folder which
 * is there does not exist, as /proc does when something is to be made in it.
 */
export async function makeDir(path: string, mode?: number): Promise<void> {
  try {
    await makeMissing(path, mode);
  } catch (error) {
    throw asFileError(error, path);
  }
}

async function makeMissing(path: string, mode: number | undefined): Promise<void> {
  const parent = dirname(path);
  let hadParent = false;
  for (;;) {
    try {
      await mkdir(path, mode);
      return;
    } catch (error) {
      if (await isFolder(path)) return;
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      if (hadParent) {
        throw new AnnealError('file_unreadable', `${path} cannot be made: ${parent} takes no folders.`, {
          path,
          hint: 'Name a folder of a disk that can be written to.',
          cause: error,
        });
      }
    }
    // Somebody else may have made it since: only with a parent that was there before does the answer count.
    hadParent = await isFolder(parent);
    if (!hadParent) await makeMissing(parent, mode);
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}

/** Reads and parses a JSON file; `code` is what a broken one means to the caller. */
export async function readJson(
  path: string,
  code: 'model_invalid' | 'artifact_corrupt' | 'tokenizer_invalid',
): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw asFileError(error, path);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new AnnealError(code, `${path} is not valid JSON: ${(error as Error).message}`, {
      path,
      cause: error,
    });
  }
}

/** Forbidden, of the wrong kind (a file where a folder should be, or the other way), with too long a name, or broken. */
const UNUSABLE: ReadonlySet<string> = new Set([
  'EACCES',
  'EEXIST',
  'EIO',
  'EISDIR',
  'ELOOP',
  'ENAMETOOLONG',
  'ENOTDIR',
  'EPERM',
  'EROFS',
]);

/** The error of a file operation as one that says what and where; other errors pass unchanged. */
export function asFileError(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new AnnealError('disk_full', `No room to write ${path}.`, {
      hint: 'Free some space, keep fewer checkpoints (keep_last), or set ANNEAL_HOME to a larger disk.',
      path,
      cause: error,
    });
  }
  if (code === 'ENOENT') {
    return new AnnealError('file_not_found', `${path} does not exist.`, { path, cause: error });
  }
  if (code !== undefined && UNUSABLE.has(code)) {
    return new AnnealError('file_unreadable', `${path} cannot be used: ${(error as Error).message}`, {
      path,
      cause: error,
    });
  }
  return error;
}

/** Bytes for people: `1.5 GB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${value} B` : `${value.toPrecision(3)} ${units[unit]}`;
}
