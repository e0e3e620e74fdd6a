/**
 * Arrays of numbers that a model gave for a batch of rows, kept under the home for other runs: reference
 * log-probabilities, a teacher's likeliest tokens. An entry is addressed by all that decides its bits (the content of
 * the model's files, the rows of the batch, the kind of numbers, threads), so a found one is what computing would give.
 *
 * On disk: `<2 hex digits>/<key>` with SHA-256 of the rest, a count, and for each array its length in bytes and then the
 * bytes. Written whole or not at all; one that does not match its checksum is computed again.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelFolder } from '../models/load.ts';
import { makeDir, writeFileAtomic } from '../util/files.ts';
import { hashFile, hashValue } from '../util/hash.ts';

const DIGEST_BYTES = 32;

export class ContentCache {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** The arrays of an entry as bytes; undefined: there is none, or it is damaged. */
  async read(key: string): Promise<Uint8Array<ArrayBuffer>[] | undefined> {
    const bytes = await readFile(this.#path(key)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (bytes === undefined || bytes.length < DIGEST_BYTES) return undefined;
    const content = bytes.subarray(DIGEST_BYTES);
    if (!digest(content).equals(bytes.subarray(0, DIGEST_BYTES))) return undefined;
    const arrays: Uint8Array<ArrayBuffer>[] = [];
    let at = 0;
    while (at < content.length) {
      const length = content.readUInt32LE(at);
      // A copy, so that views of wider numbers are aligned.
      arrays.push(new Uint8Array(content.subarray(at + 4, at + 4 + length)));
      at += 4 + length;
    }
    return arrays;
  }

  async write(key: string, arrays: readonly ArrayBufferView[]): Promise<void> {
    const parts = arrays.flatMap((array) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(array.byteLength);
      return [length, Buffer.from(array.buffer, array.byteOffset, array.byteLength)];
    });
    const content = Buffer.concat(parts);
    const path = this.#path(key);
    await makeDir(join(this.#dir, key.slice(0, 2)));
    await writeFileAtomic(path, Buffer.concat([digest(content), content]));
  }

  #path(key: string): string {
    return join(this.#dir, key.slice(0, 2), key);
  }
}

/** Key of an entry: a hash of whatever decides it. */
export function cacheKey(what: unknown): string {
  return hashValue(what);
}

/**
 * Hash of the files of a model folder that decide what it computes: weights, adapter, and their configuration. Of an
 * adapter's folder those of its base count too.
 */
export async function modelContentHash({ path, adapter }: ModelFolder): Promise<string> {
  return hashValue(await Promise.all([path, ...(adapter ? [adapter.base] : [])].map(folderHashes)));
}

async function folderHashes(dir: string): Promise<Record<string, string>> {
  const names = (await readdir(dir)).filter((name) =>
    /\.safetensors$|^config\.json$|^adapter_config\.json$|\.safetensors\.index\.json$/.test(name),
  );
  const hashes: Record<string, string> = {};
  for (const name of names.sort()) hashes[name] = await hashFile(join(dir, name));
  return hashes;
}

function digest(content: Uint8Array): Buffer {
  return createHash('sha256').update(content).digest();
}
