/**
 * Work that is done in pieces, kept as it is done: a JSON line for each piece, durable before the next one begins. A
 * stage that was killed finds the whole lines again and goes on behind them.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { asFileError } from '../util/files.ts';

export class RowLog<Piece> {
  readonly #handle: FileHandle;
  readonly #path: string;
  /** What was kept, in order. */
  readonly pieces: Piece[];

  private constructor(handle: FileHandle, path: string, pieces: Piece[]) {
    this.#handle = handle;
    this.#path = path;
    this.pieces = pieces;
  }

  /** Opens a log, or begins one; half a line at its end (a kill while writing) goes. */
  static async open<Piece>(path: string): Promise<RowLog<Piece>> {
    try {
      const handle = await open(path, 'a+');
      const bytes = await handle.readFile();
      const end = bytes.lastIndexOf(0x0a) + 1;
      if (end < bytes.length) await handle.truncate(end);
      const lines = bytes.subarray(0, end).toString().split('\n').slice(0, -1);
      return new RowLog(
        handle,
        path,
        lines.map((line) => JSON.parse(line) as Piece),
      );
    } catch (error) {
      throw asFileError(error, path);
    }
  }

  /** Keeps a piece; it is durable when the promise resolves. */
  async append(piece: Piece): Promise<void> {
    try {
      await this.#handle.appendFile(`${JSON.stringify(piece)}\n`);
      await this.#handle.sync();
    } catch (error) {
      throw asFileError(error, this.#path);
    }
    this.pieces.push(piece);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
