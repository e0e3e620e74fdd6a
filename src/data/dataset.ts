/**
 * A prepared dataset as the training stages see it: token shards with an index (made by `prepare`).
 * `openTokenDataset(dir, split)` opens one split of an artifact.
 *
 * On disk: `manifest.json`; in each split's folder `shard-NNNNN.bin` (token ids end to end, unsigned little-endian,
 * 2 bytes where the vocabulary allows it, else 4; no document crosses a shard), `index.bin` (int64: the end of each
 * document, in tokens from the start of the split) and `origins.bin` (12 bytes a document: uint32 number of its
 * location in the manifest; float64 line or row in it, -1 - n for byte n). In memory is only the length of each
 * document, 4 bytes; tokens are read by position when they are asked for, and the operating system's page cache keeps
 * what is in use.
 */
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { asFileError } from '../util/files.ts';
import { hashFile } from '../util/hash.ts';
import type { Remark } from './remarks.ts';

const ORIGIN_BYTES = 12;

export type Split = 'train' | 'validation';

export interface TokenDataset {
  numDocuments: number;
  numTokens: number;
  tokenizerHash: string;
  /** Tokens of each document. */
  lengths: Uint32Array;
  /** Ids of document i, its EOS included, or `length` of them from `start` on. A copy. */
  document(i: number, start?: number, length?: number): Int32Array;
  length(i: number): number;
  /** Where document i came from: source file and row, for the ledger and for messages. */
  origin(i: number): string;
  /** Where document i stands: its shard, and the byte that it begins at. */
  place(i: number): { shard: string; offset: number };
  /** Ends, in documents, of the phases of a curriculum, in the order of training; of no curriculum one. */
  phaseEnds: readonly number[];
  close(): void;
}

/** A row of supervised data: ids and which of them are targets that count (by position, never by id). */
export interface SupervisedRow {
  ids: Int32Array;
  /** 1 where the token at this index is to be predicted and scored. */
  scored: Uint8Array;
  /** `file:line`. */
  origin: string;
  /** What of it may be meant otherwise. */
  remarks?: readonly Remark[] | undefined;
}

const fileEntry = z.strictObject({ file: z.string(), bytes: z.int().min(0), sha256: z.string() });
const count = z.int().min(0);
const splitEntry = z.strictObject({
  documents: count,
  tokens: count,
  index: fileEntry,
  origins: fileEntry,
  shards: z.array(fileEntry),
  /** Of a curriculum: what stands before the end of each phase. */
  phases: z.array(z.strictObject({ documents: count, tokens: count })).optional(),
});

const sourceEntry = z.strictObject({
  name: z.string(),
  files: z.array(fileEntry),
  /** How often a training document was taken, on average, in each phase. */
  rates: z.array(z.number()),
  /** Rows that were read, and what became of them. */
  rows: count,
  filtered: count,
  rejected: count,
  /** Documents that a rule of cleaning dropped, by rule. */
  dropped: z.record(z.string(), count),
  contaminated: count,
  /** Documents of which nothing was left: all their lines were repeated, or shared with evaluation sets. */
  emptied: count.default(0),
  exact_duplicates: count,
  near_duplicates: count,
  /** What was left, before mixing: documents, their tokens, and bytes of text. */
  documents: count,
  tokens: count,
  bytes: count,
  /** After mixing. */
  train_documents: count,
  train_tokens: count,
  validation_documents: count,
  validation_tokens: count,
});
export type SourceEntry = z.output<typeof sourceEntry>;

export const manifestSchema = z.strictObject({
  format: z.literal('anneal-tokens'),
  version: z.literal(2),
  /** Hash of what follows without names of files: the same however the work was shared out. */
  content_hash: z.string(),
  tokenizer_hash: z.string(),
  vocab_size: z.int().min(1),
  token_bytes: z.union([z.literal(2), z.literal(4)]),
  sources: z.array(sourceEntry),
  /** Files and members that documents come from, as origins count them. */
  locations: z.array(z.string()),
  /** Evaluation sets that documents were compared with, and what they have in common with what was kept. */
  decontamination: z
    .array(z.strictObject({ name: z.string(), rows: count, contaminated: count, sharing: count }))
    .optional(),
  splits: z.strictObject({ train: splitEntry, validation: splitEntry }),
});
export type Manifest = z.output<typeof manifestSchema>;
export type SplitEntry = z.output<typeof splitEntry>;
export type FileEntry = z.output<typeof fileEntry>;

/** In the place of a manifest, where a stage did a part of the work only. */
export const partSchema = z.strictObject({
  format: z.literal('anneal-tokens-part'),
  part: z.string(),
  /** Units of all, and of this part. */
  units: count,
  units_of_part: count,
  work_dir: z.string(),
});
export type Part = z.output<typeof partSchema>;

/** Reads and checks the manifest of a prepared dataset, or of a part of one. */
export function readManifestOrPart(dir: string): Manifest | Part {
  const path = join(dir, 'manifest.json');
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw corrupt(path, `is not valid JSON: ${error.message}`);
    throw asFileError(error, path);
  }
  const parsed = z.discriminatedUnion('format', [manifestSchema, partSchema]).safeParse(content);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw corrupt(path, `has a wrong field ${issue.path.join('.')}: ${issue.message}`);
}

/** The manifest of a prepared dataset; a part of one is an error. */
export function readManifest(dir: string): Manifest {
  const manifest = readManifestOrPart(dir);
  if (manifest.format === 'anneal-tokens') return manifest;
  throw new AnnealError('data_empty', `${dir} is part ${manifest.part} of a dataset, not the whole.`, {
    path: join(dir, 'manifest.json'),
    hint: mergeHint(manifest),
  });
}

/** How a dataset comes from its parts. */
export function mergeHint({ work_dir }: Part): string {
  return `When all parts are done, run prepare without part over work_dir ${work_dir}.`;
}

/** Opens one split. Sizes of the files are checked here; `verifyTokenDataset` checks their content. */
export function openTokenDataset(dir: string, split: Split): TokenDataset {
  const manifest = readManifest(dir);
  const entry = manifest.splits[split];
  for (const { file, bytes } of filesOf(entry)) {
    const path = join(dir, file);
    let size: number;
    try {
      size = statSync(path).size;
    } catch (error) {
      throw asFileError(error, path);
    }
    if (size !== bytes) throw corrupt(path, `has ${size} bytes, the manifest says ${bytes}`);
  }
  return new ShardedDataset(dir, manifest, entry);
}

/** Reads every file of a prepared dataset and compares its checksum. */
export async function verifyTokenDataset(dir: string): Promise<void> {
  const { splits } = readManifest(dir);
  for (const { file, sha256 } of [...filesOf(splits.train), ...filesOf(splits.validation)]) {
    const path = join(dir, file);
    if ((await hashFile(path)) !== sha256) throw corrupt(path, 'does not match its checksum');
  }
}

function filesOf(entry: SplitEntry): FileEntry[] {
  return [entry.index, entry.origins, ...entry.shards];
}

function corrupt(path: string, problem: string): AnnealError {
  return new AnnealError('artifact_corrupt', `${path} ${problem}.`, {
    path,
    hint: 'Run the prepare stage again with --fresh.',
  });
}

/** The place of the first of so many documents is kept; that of the others is counted on from it. */
const STARTS_EVERY = 64;
/** Documents of the index that are read at once. */
const INDEX_PIECE = 1 << 16;

class ShardedDataset implements TokenDataset {
  readonly numDocuments: number;
  readonly numTokens: number;
  readonly tokenizerHash: string;
  readonly lengths: Uint32Array;
  readonly #starts: Float64Array;
  readonly #tokenBytes: 2 | 4;
  readonly #locations: string[];
  readonly phaseEnds: readonly number[];
  /** First token of each shard, and the end of the last one. */
  readonly #shardStarts: number[] = [0];
  readonly #shards: number[] = [];
  readonly #shardFiles: string[];
  readonly #origins: number;
  /** What tokens are read into, before they are copied out. */
  #scratch = new ArrayBuffer(1 << 16);

  constructor(dir: string, manifest: Manifest, entry: SplitEntry) {
    this.numDocuments = entry.documents;
    this.numTokens = entry.tokens;
    this.tokenizerHash = manifest.tokenizer_hash;
    this.#tokenBytes = manifest.token_bytes;
    this.#locations = manifest.locations;
    this.phaseEnds = entry.phases?.map(({ documents }) => documents) ?? [entry.documents];
    const indexPath = join(dir, entry.index.file);
    const { lengths, starts } = readIndex(indexPath, entry);
    this.lengths = lengths;
    this.#starts = starts;
    this.#shardFiles = entry.shards.map(({ file }) => file);
    this.#origins = openSync(join(dir, entry.origins.file), 'r');
    for (const { file, bytes } of entry.shards) {
      this.#shards.push(openSync(join(dir, file), 'r'));
      this.#shardStarts.push(this.#shardStarts.at(-1)! + bytes / this.#tokenBytes);
    }
    if (this.#shardStarts.at(-1) !== entry.tokens)
      throw corrupt(indexPath, 'does not match the sizes of its shards');
  }

  length(i: number): number {
    return this.lengths[this.#check(i)]!;
  }

  document(i: number, start = 0, length = this.length(i) - start): Int32Array {
    const total = this.length(i);
    if (start < 0 || length < 0 || start + length > total) {
      throw new RangeError(`tokens ${start} to ${start + length} of a document of ${total}`);
    }
    const first = this.#first(i);
    const shard = this.#shardOf(first);
    const size = length * this.#tokenBytes;
    if (this.#scratch.byteLength < size) this.#scratch = new ArrayBuffer(2 ** Math.ceil(Math.log2(size)));
    const position = (first + start - this.#shardStarts[shard]!) * this.#tokenBytes;
    readFully(this.#shards[shard]!, new Uint8Array(this.#scratch, 0, size), position);
    const Stored = this.#tokenBytes === 2 ? Uint16Array : Int32Array;
    return new Int32Array(new Stored(this.#scratch, 0, length));
  }

  origin(i: number): string {
    const bytes = Buffer.alloc(ORIGIN_BYTES);
    readFully(this.#origins, bytes, this.#check(i) * ORIGIN_BYTES);
    const place = bytes.readDoubleLE(4);
    return `${this.#locations[bytes.readUInt32LE(0)]}:${place < 0 ? `@${-1 - place}` : place}`;
  }

  place(i: number): { shard: string; offset: number } {
    const first = this.#first(this.#check(i));
    const shard = this.#shardOf(first);
    return {
      shard: this.#shardFiles[shard]!,
      offset: (first - this.#shardStarts[shard]!) * this.#tokenBytes,
    };
  }

  close(): void {
    for (const descriptor of [this.#origins, ...this.#shards.splice(0)]) closeSync(descriptor);
  }

  #check(i: number): number {
    if (!(i >= 0 && i < this.numDocuments)) throw new RangeError(`document ${i} of ${this.numDocuments}`);
    return i;
  }

  /** Tokens of the split before document i. */
  #first(i: number): number {
    let first = this.#starts[Math.floor(i / STARTS_EVERY)]!;
    for (let d = i - (i % STARTS_EVERY); d < i; d++) first += this.lengths[d]!;
    return first;
  }

  #shardOf(token: number): number {
    let low = 0;
    let high = this.#shards.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#shardStarts[middle]! <= token) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Reads the index in pieces: the length of each document, and where each of STARTS_EVERY begins. */
function readIndex(path: string, entry: SplitEntry): { lengths: Uint32Array; starts: Float64Array } {
  if (entry.index.bytes !== entry.documents * 8)
    throw corrupt(path, `does not hold ${entry.documents} documents`);
  const lengths = new Uint32Array(entry.documents);
  const starts = new Float64Array(Math.ceil(entry.documents / STARTS_EVERY));
  const ends = new Uint32Array(2 * INDEX_PIECE);
  const descriptor = openSync(path, 'r');
  try {
    let previous = 0;
    for (let from = 0; from < entry.documents; from += INDEX_PIECE) {
      const count = Math.min(INDEX_PIECE, entry.documents - from);
      readFully(descriptor, new Uint8Array(ends.buffer, 0, count * 8), from * 8);
      for (let i = 0; i < count; i++) {
        const end = ends[2 * i]! + ends[2 * i + 1]! * 2 ** 32;
        if (end < previous || end > entry.tokens)
          throw corrupt(path, `is out of order at document ${from + i}`);
        if ((from + i) % STARTS_EVERY === 0) starts[(from + i) / STARTS_EVERY] = previous;
        lengths[from + i] = end - previous;
        previous = end;
      }
    }
    if (previous !== entry.tokens) throw corrupt(path, `does not hold ${entry.tokens} tokens`);
  } finally {
    closeSync(descriptor);
  }
  return { lengths, starts };
}

function readFully(descriptor: number, bytes: Uint8Array, position: number): void {
  let done = 0;
  while (done < bytes.length) {
    const read = readSync(descriptor, bytes, done, bytes.length - done, position + done);
    if (read === 0) throw new AnnealError('artifact_corrupt', 'A token shard ends early.');
    done += read;
  }
}
