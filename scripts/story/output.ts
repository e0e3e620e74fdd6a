/**
 * A set of files that is made once: written atomically, the stamp last, so that a stamp that fits means that all of
 * them are there and whole.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeDir, writeFileAtomic } from '../../src/util/files.ts';

/** Root of the repository, and the folder where the quickstart's data lies unless told otherwise. */
export const ROOT = join(import.meta.dirname, '../..');
export const DATA_FOLDER = join(ROOT, '.cache/quickstart');

/** A hash of the data makers' own sources and of what else (package versions) decides their output. */
export function makerStamp(...versions: string[]): string {
  const hash = createHash('sha256');
  for (const name of readdirSync(import.meta.dirname).sort())
    hash.update(readFileSync(join(import.meta.dirname, name)));
  for (const version of versions) hash.update(version);
  return `${hash.digest('hex')}\n`;
}

/** Whether `writeOnce` wrote these files from the same sources before. */
export function isUpToDate(
  folder: string,
  stampName: string,
  stamp: string,
  names: readonly string[],
): boolean {
  const path = join(folder, stampName);
  return (
    names.every((name) => existsSync(join(folder, name))) &&
    existsSync(path) &&
    readFileSync(path, 'utf8') === stamp
  );
}

/** Writes each set of rows as a JSONL file, then the stamp; says what it wrote. */
export async function writeOnce(
  folder: string,
  stampName: string,
  stamp: string,
  files: Record<string, readonly object[]>,
): Promise<void> {
  await makeDir(folder);
  for (const [name, rows] of Object.entries(files)) {
    await writeFileAtomic(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    console.log(`${name}: ${rows.length} rows`);
  }
  await writeFileAtomic(join(folder, stampName), stamp);
}
