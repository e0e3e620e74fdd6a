/**
 * A file that only grows, of JSON lines or of records: what a training run writes down. A checkpoint notes how long
 * it was; a resumed or rolled-back run cuts it to that length and writes the same again.
 */
import { closeSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { asFileError } from '../util/files.ts';

export class Journal {
  readonly path: string;
  readonly #file: number;
  #bytes: number;

  private constructor(path: string, file: number, bytes: number) {
    this.path = path;
    this.#file = file;
    this.#bytes = bytes;
  }

  /** Opens the file and cuts it to the length that a checkpoint noted (0: a new run). */
  static open(path: string, bytes: number): Journal {
    try {
      const file = openSync(path, 'a');
      ftruncateSync(file, bytes);
      return new Journal(path, file, bytes);
    } catch (error) {
      throw asFileError(error, path);
    }
  }

  /** Whether the file is at least as long as a checkpoint noted. */
  static async holds(path: string, bytes: number): Promise<boolean> {
    if (bytes === 0) return true;
    return ((await stat(path).catch(() => undefined))?.size ?? 0) >= bytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Appends a line of JSON. */
  append(line: unknown): void {
    this.write(Buffer.from(`${JSON.stringify(line)}\n`, 'utf8'));
  }

  write(data: Buffer): void {
    try {
      for (let written = 0; written < data.length; ) written += writeSync(this.#file, data, written);
    } catch (error) {
      throw asFileError(error, this.path);
    }
    this.#bytes += data.length;
  }

  truncate(bytes: number): void {
    ftruncateSync(this.#file, bytes);
    this.#bytes = bytes;
  }

  sync(): void {
    fsyncSync(this.#file);
  }

  close(): void {
    closeSync(this.#file);
  }
}
