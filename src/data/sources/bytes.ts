/**
 * Bytes of files: read in large chunks, one ahead of whoever takes them, with a check at the end that the file is
 * still the one that was opened.
 */
import type { Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { AnnealError } from '../../../proto/errors.ts';
import { asFileError } from '../../util/files.ts';
import type { FileState } from './unit.ts';

/** Rows of a chunk live at the same time: larger ones cost memory and, by the caches, time. */
const CHUNK_BYTES = 1 << 18;

/** Content to be read once, from its beginning. */
export interface Content {
  chunks: AsyncIterable<Buffer>;
  /** Where in the whole content the chunks begin. */
  offset: number;
  /** Bytes of the unit as stored that were read once the content was read up to `end`. */
  progress(end: number): number;
}

/** Content whose bytes can be had in any order. */
export interface RandomAccess {
  readonly size: number;
  /** As messages name it. */
  readonly location: string;
  /** A range that must be there in full, in memory of its own. */
  read(start: number, end: number): Promise<Buffer>;
  /** The bytes of a range from front to back. */
  chunks(start: number, end: number): AsyncGenerator<Buffer>;
}

/** A file that is open, and what it was then. */
export class DataFile implements RandomAccess {
  readonly #handle: FileHandle;
  /** As it was when it was opened. */
  readonly state: FileState;
  readonly location: string;

  private constructor(handle: FileHandle, state: FileState, location: string) {
    this.#handle = handle;
    this.state = state;
    this.location = location;
  }

  /** `expected` is what it was at an earlier look. */
  static async open(path: string, location: string, expected?: FileState): Promise<DataFile> {
    try {
      const handle = await open(path, 'r');
      try {
        const state = stateOf(await handle.stat());
        if (expected !== undefined) requireSame(location, expected, state);
        return new DataFile(handle, state, location);
      } catch (error) {
        await handle.close();
        throw error;
      }
    } catch (error) {
      throw asFileError(error, location);
    }
  }

  /** Throws when the file is no longer what it was at an earlier look. */
  static async requireUnchanged(path: string, expected: FileState): Promise<void> {
    try {
      requireSame(path, expected, stateOf(await stat(path)));
    } catch (error) {
      throw asFileError(error, path);
    }
  }

  get size(): number {
    return this.state.bytes;
  }

  /** A range that must be there in full, at the beginning of `memory`; by default in memory of its own. */
  async read(
    start: number,
    end: number,
    memory: Buffer = Buffer.allocUnsafeSlow(end - start),
  ): Promise<Buffer> {
    const buffer = memory.subarray(0, end - start);
    let filled = 0;
    try {
      while (filled < buffer.length) {
        const { bytesRead } = await this.#handle.read(buffer, filled, buffer.length - filled, start + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
    } catch (error) {
      throw asFileError(error, this.location);
    }
    if (filled < buffer.length) {
      throw changed(this.location, `it ended at byte ${start + filled} of ${this.size}`);
    }
    return buffer;
  }

  /**
   * The bytes from `start` up to `end`, each chunk in memory of its own. `passing`: in two memories in turn, so that a
   * chunk is there until the next one is asked for.
   */
  async *chunks(start = 0, end = this.size, passing = false): AsyncGenerator<Buffer> {
    const memories = passing ? [chunkMemory(), chunkMemory()] : [];
    const next = (at: number) => {
      const memory = memories.shift();
      if (memory) memories.push(memory);
      return this.read(at, Math.min(end, at + CHUNK_BYTES), memory);
    };
    let ahead = start < end ? next(start) : undefined;
    try {
      for (let at = start; at < end; at += CHUNK_BYTES) {
        const chunk = await ahead!;
        ahead = at + CHUNK_BYTES < end ? next(at + CHUNK_BYTES) : undefined;
        yield chunk;
      }
    } finally {
      // The file must not be closed under a read; its failure is nobody's when the reader has gone.
      await ahead?.catch(() => undefined);
    }
  }

  /** Throws when the file is no longer as it was when it was opened. */
  async verify(): Promise<void> {
    requireSame(this.location, this.state, stateOf(await this.#handle.stat()));
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** A part of a file that is a file of its own: a member of an archive. */
export class FilePart implements RandomAccess {
  readonly #file: DataFile;
  readonly #start: number;
  readonly size: number;

  constructor(file: DataFile, start: number, size: number) {
    this.#file = file;
    this.#start = start;
    this.size = size;
  }

  get location(): string {
    return this.#file.location;
  }

  read(start: number, end: number): Promise<Buffer> {
    return this.#file.read(this.#start + start, this.#start + end);
  }

  chunks(start = 0, end = this.size, passing = false): AsyncGenerator<Buffer> {
    return this.#file.chunks(this.#start + start, this.#start + end, passing);
  }
}

function chunkMemory(): Buffer {
  return Buffer.allocUnsafeSlow(CHUNK_BYTES);
}

function stateOf({ size, mtimeMs }: Stats): FileState {
  return { bytes: size, modified: mtimeMs };
}

function requireSame(location: string, before: FileState, now: FileState): void {
  if (now.bytes !== before.bytes) {
    throw changed(location, `it had ${before.bytes} bytes and has ${now.bytes}`);
  }
  if (now.modified !== before.modified) {
    throw changed(location, `it was written to at ${new Date(now.modified).toISOString()}`);
  }
}

function changed(location: string, how: string): AnnealError {
  return new AnnealError('file_unreadable', `${location} was changed while it was being read: ${how}.`, {
    path: location,
    hint: 'Let whatever writes the file finish, then run again.',
  });
}
