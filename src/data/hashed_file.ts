/** A file that is written from front to end with a checksum on the way, and fsynced when it is finished. */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { release } from '../native/memory.ts';
import { asFileError } from '../util/files.ts';

const BUFFER_BYTES = 1 << 20;

/** What is known of a file that was written. */
export interface FileEntry {
  /** Relative to the folder that it was made in. */
  file: string;
  bytes: number;
  sha256: string;
}

export class HashedFile {
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #name: string;
  readonly #hash: Hash = createHash('sha256');
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #used = 0;
  bytes = 0;

  private constructor(handle: FileHandle, path: string, name: string) {
    this.#handle = handle;
    this.#path = path;
    this.#name = name;
  }

  /** The file must not be there. */
  static async create(dir: string, name: string): Promise<HashedFile> {
    const path = join(dir, name);
    try {
      return new HashedFile(await open(path, 'wx'), path, name);
    } catch (error) {
      throw asFileError(error, path);
    }
  }

  /** Gives a promise only when the buffer had to be written out: most pieces are small. */
  write(data: Uint8Array): Promise<void> | undefined {
    this.bytes += data.length;
    if (this.#used + data.length > BUFFER_BYTES) return this.#writeThrough(data);
    this.#buffer.set(data, this.#used);
    this.#used += data.length;
    return undefined;
  }

  async #writeThrough(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; ) {
      const part = data.subarray(at, at + BUFFER_BYTES - this.#used);
      this.#buffer.set(part, this.#used);
      this.#used += part.length;
      at += part.length;
      if (this.#used === BUFFER_BYTES) await this.#flush();
    }
  }

  async #flush(): Promise<void> {
    const data = this.#buffer.subarray(0, this.#used);
    this.#hash.update(data);
    try {
      await this.#handle.writeFile(data);
    } catch (error) {
      throw asFileError(error, this.#path);
    }
    this.#used = 0;
  }

  async finish(): Promise<FileEntry> {
    await this.#flush();
    try {
      await this.#handle.sync();
    } catch (error) {
      throw asFileError(error, this.#path);
    }
    await this.close();
    release(this.#buffer);
    return { file: this.#name, bytes: this.bytes, sha256: this.#hash.digest('hex') };
  }

  /** Does nothing on a file that is closed. */
  close(): Promise<void> {
    return this.#handle.close();
  }
}
