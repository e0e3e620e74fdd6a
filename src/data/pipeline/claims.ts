/**
 * Who is at which unit, so that processes which share a work folder do not do the same twice. A claim is a file that
 * its holder touches every few seconds; one that has not been touched for long, or whose process is gone, may be
 * taken over. Two holders by accident cost time, never correctness: both leave the same bytes, the first stays.
 */
import { randomBytes } from 'node:crypto';
import { readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { asFileError, makeDir } from '../../util/files.ts';
import { isAlive } from '../../util/processes.ts';

const TOUCH_MS = 2_000;
/** Some touches may be late: a machine under load, a network file system. */
const STALE_MS = 20_000;

/** Tells this process from an earlier one with the same number. */
const NONCE = randomBytes(8).toString('hex');

export class Claims {
  readonly #dir: string;
  readonly #held = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  static async open(dir: string): Promise<Claims> {
    await makeDir(dir);
    return new Claims(dir);
  }

  /** Whether the unit is now this process's to do. */
  async take(index: number): Promise<boolean> {
    const path = this.#path(index);
    const claim = JSON.stringify({ host: hostname(), pid: process.pid, nonce: NONCE });
    try {
      await writeFile(path, claim, { flag: 'wx' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw asFileError(error, path);
      if (!(await this.#isStale(path))) return false;
      const temporary = `${path}.${randomBytes(6).toString('hex')}`;
      await writeFile(temporary, claim);
      await rename(temporary, path);
    }
    this.#held.add(path);
    this.#timer ??= setInterval(() => void this.#touch(), TOUCH_MS).unref();
    return true;
  }

  async release(index: number): Promise<void> {
    const path = this.#path(index);
    this.#held.delete(path);
    await rm(path, { force: true });
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #path(index: number): string {
    return join(this.#dir, String(index));
  }

  async #touch(): Promise<void> {
    const now = new Date();
    // A claim that somebody has taken over and released is gone.
    for (const path of this.#held) await utimes(path, now, now).catch(() => undefined);
  }

  async #isStale(path: string): Promise<boolean> {
    let holder: { host?: unknown; pid?: unknown; nonce?: unknown };
    let touched: number;
    try {
      touched = (await stat(path)).mtimeMs;
      holder = JSON.parse(await readFile(path, 'utf8')) as typeof holder;
    } catch (error) {
      // Released meanwhile; or the disk was full and the claim is empty.
      return (
        (error as NodeJS.ErrnoException).code !== 'ENOENT' && Date.now() - (await touchedAt(path)) > STALE_MS
      );
    }
    if (holder.host === hostname()) {
      if (holder.pid === process.pid) return holder.nonce !== NONCE;
      if (!isAlive(Number(holder.pid))) return true;
    }
    return Date.now() - touched > STALE_MS;
  }
}

async function touchedAt(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.mtimeMs ?? Number.POSITIVE_INFINITY;
}
