/**
 * Checksums of data files. A stage's data are hashed for its identity, and again for what it writes down about them: of
 * a file that stays as it was, the second time is saved; of what was fetched, both.
 */
import { stat } from 'node:fs/promises';
import { asFileError } from '../util/files.ts';
import { hashFile } from '../util/hash.ts';
import { fetchedHash } from './sources/cached_url.ts';

/** Of files that this process has read, by path. */
const known = new Map<string, { state: string; sha256: string }>();

/** A file that was written to so lately may be written to again without its times telling, by the clock's grain. */
const SETTLED_MS = 2000;

/** SHA-256 of a data file, in hex. */
export async function dataHash(path: string): Promise<string> {
  const fetched = fetchedHash(path);
  if (fetched !== undefined) return fetched;
  const before = await stateOf(path);
  const found = known.get(path);
  if (found?.state === before.state) return found.sha256;
  const sha256 = await hashFile(path);
  const settled = Date.now() - before.changed > SETTLED_MS;
  if (settled && (await stateOf(path)).state === before.state)
    known.set(path, { state: before.state, sha256 });
  return sha256;
}

/** What differs once anybody has written to the file or put another one in its place. */
async function stateOf(path: string): Promise<{ state: string; changed: number }> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = await stat(path, { bigint: true });
    return { state: [dev, ino, size, mtimeNs, ctimeNs].join(' '), changed: Number(ctimeMs) };
  } catch (error) {
    throw asFileError(error, path);
  }
}
