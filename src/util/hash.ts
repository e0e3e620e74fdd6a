/** Content hashes: SHA-256 of files and of values in a canonical JSON form (keys sorted, no spaces). */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { asFileError } from './files.ts';

/** JSON whose text depends on the value only: keys sorted, undefined members left out. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
    return `{${members.join(',')}}`;
  }
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new RangeError(`${value} has no canonical JSON form`);
  }
  return JSON.stringify(value);
}

/** SHA-256 of text or bytes, in hex. */
export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/** SHA-256 of a value's canonical JSON. */
export function hashValue(value: unknown): string {
  return sha256(canonicalJson(value));
}

const READ_BYTES = 1 << 18;

/** Memory for reading that nobody uses now: made anew for each file it would cost more than a small one. */
const MAX_SPARE = 8;
const spare: Buffer[] = [];

/** SHA-256 of a file's content, read piece after piece into the same memory. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  const memory = spare.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
  let file: FileHandle | undefined;
  try {
    file = await open(path);
    for (;;) {
      const { bytesRead } = await file.read(memory, 0, READ_BYTES);
      if (bytesRead === 0) return hash.digest('hex');
      hash.update(memory.subarray(0, bytesRead));
    }
  } catch (error) {
    throw asFileError(error, path);
  } finally {
    if (spare.length < MAX_SPARE) spare.push(memory);
    await file?.close();
  }
}
