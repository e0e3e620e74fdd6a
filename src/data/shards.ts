/** Writing one split of a prepared dataset (format: dataset.ts), with bounded memory and checksums on the way. */
import { join } from 'node:path';
import { makeDir } from '../util/files.ts';
import type { Split, SplitEntry } from './dataset.ts';
import { HashedFile } from './hashed_file.ts';

const MAX_SHARD_BYTES = 1 << 28;

/** Bytes of a stored token id for a vocabulary of this size. */
export function tokenBytesFor(vocabSize: number): 2 | 4 {
  return vocabSize <= 0x10000 ? 2 : 4;
}

/** Documents end to end. */
export interface DocumentRun {
  /** Their ids as they are stored. */
  bytes: Uint8Array;
  /** Tokens of each. */
  lengths: Uint32Array;
  /** Where each begins in its file: line or row; -1 - n is byte n. */
  places: Float64Array;
  /** Numbers in the manifest of the files that they come from. */
  locations: Uint32Array;
}

/** Writes documents in the order given. */
export class SplitWriter {
  readonly #dir: string;
  readonly #split: Split;
  readonly #tokenBytes: 2 | 4;
  readonly #maxShardBytes: number;
  readonly #index: HashedFile;
  readonly #origins: HashedFile;
  readonly #done: SplitEntry['shards'] = [];
  readonly #phases: { documents: number; tokens: number }[] = [];
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
    await makeDir(join(dir, split));
    const index = await HashedFile.create(dir, `${split}/index.bin`);
    const origins = await HashedFile.create(dir, `${split}/origins.bin`);
    return new SplitWriter(dir, split, tokenBytesFor(vocabSize), maxShardBytes, index, origins);
  }

  /** Adds documents; as many as have room go into a shard in one piece. */
  async add({ bytes, lengths, places, locations }: DocumentRun): Promise<void> {
    let at = 0;
    for (let from = 0; from < lengths.length; ) {
      const room = this.#maxShardBytes - (this.#shard?.bytes ?? 0);
      let to = from;
      let end = at;
      while (to < lengths.length && end - at + lengths[to]! * this.#tokenBytes <= room) {
        end += lengths[to++]! * this.#tokenBytes;
      }
      if (to === from) {
        if (this.#shard !== undefined) {
          await this.#endShard();
          continue;
        }
        // A document larger than a shard has one of its own.
        end += lengths[to++]! * this.#tokenBytes;
      }
      this.#shard ??= await HashedFile.create(
        this.#dir,
        `${this.#split}/shard-${String(this.#done.length).padStart(5, '0')}.bin`,
      );
      await this.#shard.write(bytes.subarray(at, end));
      at = end;
      from = to;
    }
    await this.#addOrigins(lengths, places, locations);
  }

  async #addOrigins(lengths: Uint32Array, places: Float64Array, locations: Uint32Array): Promise<void> {
    const count = lengths.length;
    const ends = new Uint32Array(2 * count);
    const origins = new Uint32Array(3 * count);
    const place = new Float64Array(1);
    const halves = new Uint32Array(place.buffer);
    for (let i = 0; i < count; i++) {
      this.tokens += lengths[i]!;
      ends[2 * i] = this.tokens;
      ends[2 * i + 1] = this.tokens / 2 ** 32;
      place[0] = places[i]!;
      origins[3 * i] = locations[i]!;
      origins[3 * i + 1] = halves[0]!;
      origins[3 * i + 2] = halves[1]!;
    }
    this.documents += count;
    await this.#index.write(new Uint8Array(ends.buffer));
    await this.#origins.write(new Uint8Array(origins.buffer));
  }

  /** What follows belongs to the next phase of a curriculum. */
  endPhase(): void {
    this.#phases.push({ documents: this.documents, tokens: this.tokens });
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
      ...(this.#phases.length > 1 ? { phases: this.#phases } : {}),
    };
  }
}
