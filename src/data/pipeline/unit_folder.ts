/**
 * What one unit of work leaves: a folder that is complete or absent. In it are, in the order of the unit's rows and for
 * the documents that its rules kept, `ids.bin` (token ids end to end, as in a shard) and `documents.bin` (a record a
 * document, below); where it is asked for, `exact.bin`, `bands.bin` and `signatures.bin` (for finding duplicates) and
 * `overlap.bin` (pairs of uint32: a document of the unit, and an n-gram that it shares with evaluation sets); of the
 * pass that counts lines and paragraphs their hashes and how many each document has; `rejected.jsonl` (rows that did
 * not fit) and `unit.json` (the report, and the checksums of the others).
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../../proto/errors.ts';
import { asFileError, exists, fsyncDir, makeDir, writeFileAtomic } from '../../util/files.ts';
import { hashFile } from '../../util/hash.ts';
import { type FileEntry, HashedFile } from '../hashed_file.ts';
import { REJECTED_FILE } from '../shapes/rejects.ts';
import { type UnitReport, unitReportSchema } from './unit_report.ts';

/**
 * A document's record: float64 place (line or row; -1 - n is byte n of the file); uint32 tokens, CRC-32 of the text,
 * bytes of the text, and which part of the unit it comes from.
 */
const RECORD_BYTES = 24;
const RECORDS_AT_ONCE = 1 << 14;

type PartFile = `${'lines' | 'paragraphs' | 'boilerplate'}.${'hashes' | 'counts'}.bin`;
export type UnitFile =
  | 'ids.bin'
  | 'documents.bin'
  | 'exact.bin'
  | 'bands.bin'
  | 'signatures.bin'
  | 'overlap.bin'
  | PartFile;

/** What is added to files. */
export type UnitFiles = Partial<Record<UnitFile, ArrayBufferView>>;

const fileEntry = z.strictObject({ file: z.string(), bytes: z.int().min(0), sha256: z.string() });
const unitSchema = z.strictObject({
  format: z.literal(1),
  report: unitReportSchema,
  files: z.array(fileEntry),
});

/** A unit that is done. */
export interface DoneUnit {
  path: string;
  report: UnitReport;
  files: FileEntry[];
}

/** A column for each field of the records. */
export interface DocumentColumns {
  places: Float64Array;
  tokens: Uint32Array;
  crcs: Uint32Array;
  sizes: Uint32Array;
  parts: Uint32Array;
}

export function documentRecords({ places, tokens, crcs, sizes, parts }: DocumentColumns): Uint8Array {
  const doubles = new Float64Array(3 * places.length);
  const words = new Uint32Array(doubles.buffer);
  for (let i = 0; i < places.length; i++) {
    doubles[3 * i] = places[i]!;
    words[6 * i + 2] = tokens[i]!;
    words[6 * i + 3] = crcs[i]!;
    words[6 * i + 4] = sizes[i]!;
    words[6 * i + 5] = parts[i]!;
  }
  return new Uint8Array(doubles.buffer);
}

export function unitPath(root: string, index: number): string {
  return join(root, String(index).padStart(6, '0'));
}

/** The unit that was left there; undefined where there is none. */
export async function openUnit(root: string, index: number): Promise<DoneUnit | undefined> {
  const path = unitPath(root, index);
  if (!(await exists(path))) return undefined;
  try {
    const { report, files } = unitSchema.parse(JSON.parse(await readFile(join(path, 'unit.json'), 'utf8')));
    return { path, report, files };
  } catch (error) {
    throw new AnnealError('artifact_corrupt', `${path} is not a unit of work.`, {
      path,
      hint: 'Remove the folder; the unit will be done again.',
      cause: error,
    });
  }
}

/** Whether the unit's files are what was written; a file that is gone is not. */
export async function isUndamaged({ path, files }: DoneUnit): Promise<boolean> {
  for (const { file, sha256 } of files) {
    const found = await hashFile(join(path, file)).catch((error: unknown) => {
      if (error instanceof AnnealError && error.code === 'file_not_found') return undefined;
      throw error;
    });
    if (found !== sha256) return false;
  }
  return true;
}

/** Writes the folder of a unit beside the place that it will have, and moves it there in the end. */
export class UnitWriter {
  readonly #root: string;
  readonly #index: number;
  readonly #partial: string;
  readonly #files = new Map<string, HashedFile>();

  private constructor(root: string, index: number, partial: string) {
    this.#root = root;
    this.#index = index;
    this.#partial = partial;
  }

  static async create(root: string, index: number): Promise<UnitWriter> {
    // Others may be at the same unit: whoever is first leaves it, and all would leave the same bytes.
    const partial = `${unitPath(root, index)}.${randomBytes(6).toString('hex')}.partial`;
    await makeDir(partial);
    return new UnitWriter(root, index, partial);
  }

  /** Adds to the ends of files, which are made when something is added first. */
  async add(files: UnitFiles): Promise<void> {
    for (const [name, { buffer, byteOffset, byteLength }] of Object.entries(files)) {
      await (await this.#file(name)).write(new Uint8Array(buffer, byteOffset, byteLength));
    }
  }

  async addRejected(line: string): Promise<void> {
    await (await this.#file(REJECTED_FILE)).write(Buffer.from(line));
  }

  async finish(report: UnitReport): Promise<void> {
    const files: FileEntry[] = [];
    for (const [, file] of [...this.#files].sort(([a], [b]) => (a < b ? -1 : 1))) {
      files.push(await file.finish());
    }
    await writeFileAtomic(
      join(this.#partial, 'unit.json'),
      `${JSON.stringify({ format: 1, report, files })}\n`,
    );
    await fsyncDir(this.#partial);
    try {
      await rename(this.#partial, unitPath(this.#root, this.#index));
      await fsyncDir(this.#root);
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw asFileError(error, this.#partial);
      await rm(this.#partial, { recursive: true, force: true });
    }
  }

  /** Removes what a unit that will not be finished has written. */
  async abandon(): Promise<void> {
    for (const file of this.#files.values()) await file.close();
    await rm(this.#partial, { recursive: true, force: true });
  }

  async #file(name: string): Promise<HashedFile> {
    const open = this.#files.get(name);
    if (open) return open;
    const made = await HashedFile.create(this.#partial, name);
    this.#files.set(name, made);
    return made;
  }
}

/** The records of a unit, some thousands at a time. */
export async function* readColumns(unit: DoneUnit): AsyncGenerator<DocumentColumns> {
  const total = unit.report.documents;
  if (total === 0) return;
  const file = await UnitFileReader.open(unit, 'documents.bin');
  try {
    for (let first = 0; first < total; first += RECORDS_AT_ONCE) {
      const count = Math.min(RECORDS_AT_ONCE, total - first);
      const bytes = await file.read(first * RECORD_BYTES, count * RECORD_BYTES);
      const doubles = new Float64Array(bytes.buffer, bytes.byteOffset, 3 * count);
      const words = new Uint32Array(bytes.buffer, bytes.byteOffset, 6 * count);
      const word = (at: number): Uint32Array =>
        Uint32Array.from({ length: count }, (_, i) => words[6 * i + at]!);
      yield {
        places: Float64Array.from({ length: count }, (_, i) => doubles[3 * i]!),
        tokens: word(2),
        crcs: word(3),
        sizes: word(4),
        parts: word(5),
      };
    }
  } finally {
    await file.close();
  }
}

/** Reads pieces of a unit's file. */
export class UnitFileReader {
  readonly #handle: FileHandle;
  readonly #path: string;

  private constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  static async open(unit: DoneUnit, file: UnitFile): Promise<UnitFileReader> {
    const path = join(unit.path, file);
    try {
      return new UnitFileReader(await open(path, 'r'), path);
    } catch (error) {
      throw asFileError(error, path);
    }
  }

  /** Bytes at the beginning of `memory`; by default in memory of their own, aligned for arrays of any type. */
  async read(
    position: number,
    length: number,
    memory: Buffer = Buffer.allocUnsafeSlow(length),
  ): Promise<Buffer> {
    const bytes = memory.subarray(0, length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await this.#handle.read(bytes, done, length - done, position + done);
      if (bytesRead === 0) {
        throw new AnnealError('artifact_corrupt', `${this.#path} ends early.`, { path: this.#path });
      }
      done += bytesRead;
    }
    return bytes;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
