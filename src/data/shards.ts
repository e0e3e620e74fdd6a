/** Writing one split of a prepared dataset (format: dataset.ts), with bounded memory and checksums on the way. */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { asFileError } from '../util/files.ts';
import type { FileEntry, Split, SplitEntry } from './dataset.ts';

const BUFFER_BYTES = 1 << 20;
const MAX_SHARD_BYTES = 1 << 28;

/** Bytes of a stored token id for a vocabulary of this size. */
export function tokenBytesFor(vocabSize: number): 2 | 4 {
  return vocabSize <= 0x10000 ? 2 : 4;
}

/** A file that is written from front to end, hashed, and fsynced when it is closed. */
class HashedFile {
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #name: string;
  readonly #hash: Hash = createHash('sha256');
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #used = 0;
  bytes = 0;

  private constructor(handle: FileHandle, path: string, name: string) {
    this.#handle = handle;
    this.#path = path;
    this.#name = name;
  }

  static async create(dir: string, name: string): Promise<HashedFile> {
    const path = join(dir, name);
    try {
      return new HashedFile(await open(path, 'wx'), path, name);
    } catch (error) {
      throw asFileError(error, path);
    }
  }

  /** Gives a promise only when the buffer had to be written out: most documents are small. */
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
    return { file: this.#name, bytes: this.bytes, sha256: this.#hash.digest('hex') };
  }

  /** Does nothing on a file that is closed. */
  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Writes documents in the order given. */
export class SplitWriter {
  readonly #dir: string;
  readonly #split: Split;
  readonly #tokenBytes: 2 | 4;
  readonly #maxShardBytes: number;
  readonly #index: HashedFile;
  readonly #origins: HashedFile;
  readonly #done: FileEntry[] = [];
  readonly #end = Buffer.alloc(8);
  readonly #origin = Buffer.alloc(8);
  #shard: HashedFile | undefined;
  documents = 0;
  tokens = 0;

  private constructor(
    dir: string,
    split: Split,
    tokenBytes: 2 | 4,
    maxShardBytes: number,
    index: HashedFile,
    origins: HashedFile,
  ) {
    this.#dir = dir;
    this.#split = split;
    this.#tokenBytes = tokenBytes;
    this.#maxShardBytes = maxShardBytes;
    this.#index = index;
    this.#origins = origins;
  }

  /** Makes the split's folder in `dir`. */
  static async create(
    dir: string,
    split: Split,
    vocabSize: number,
    maxShardBytes = MAX_SHARD_BYTES,
  ): Promise<SplitWriter> {
    await mkdir(join(dir, split));
    const index = await HashedFile.create(dir, `${split}/index.bin`);
    const origins = await HashedFile.create(dir, `${split}/origins.bin`);
    return new SplitWriter(dir, split, tokenBytesFor(vocabSize), maxShardBytes, index, origins);
  }

  /** Adds one document; `source` is the number of its file in the manifest. */
  async add(ids: Int32Array, source: number, line: number): Promise<void> {
    const data = this.#tokenBytes === 2 ? Uint16Array.from(ids) : ids;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (this.#shard !== undefined && this.#shard.bytes + bytes.length > this.#maxShardBytes)
      await this.#endShard();
    this.#shard ??= await HashedFile.create(
      this.#dir,
      `${this.#split}/shard-${String(this.#done.length).padStart(5, '0')}.bin`,
    );
    const written = this.#shard.write(bytes);
    if (written !== undefined) await written;
    this.documents += 1;
    this.tokens += ids.length;
    this.#end.writeBigInt64LE(BigInt(this.tokens));
    this.#origin.writeUInt32LE(source, 0);
    this.#origin.writeUInt32LE(line, 4);
    for (const write of [this.#index.write(this.#end), this.#origins.write(this.#origin)]) {
      if (write !== undefined) await write;
    }
  }

  async #endShard(): Promise<void> {
    if (this.#shard === undefined) return;
    this.#done.push(await this.#shard.finish());
    this.#shard = undefined;
  }

  /** Closes the files of a split that will not be finished. */
  async close(): Promise<void> {
    for (const file of [this.#index, this.#origins, this.#shard]) await file?.close();
  }

  /** Makes everything durable and says what was written. */
  async finish(): Promise<SplitEntry> {
    await this.#endShard();
    return {
      documents: this.documents,
      tokens: this.tokens,
      index: await this.#index.finish(),
      origins: await this.#origins.finish(),
      shards: this.#done,
    };
  }
}
