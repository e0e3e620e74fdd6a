/** Content hashes: SHA-256 of files and of values in a canonical JSON form (keys sorted, no spaces). */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
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

/** SHA-256 of a file's content. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }))
      hash.update(chunk as Uint8Array);
  } catch (error) {
    throw asFileError(error, path);
  }
  return hash.digest('hex');
}
