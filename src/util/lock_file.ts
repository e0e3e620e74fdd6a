/**
 * A lock between processes, perhaps on several machines with one file system: a file that its holder touches every few
 * seconds. It is taken over when its holder's process is gone from this machine, or when nobody has touched it for long.
 * How long is measured by the looker's own steady clock, from look to look: clocks that differ or jump matter to
 * nothing, and what has been dead for a day is still waited for.
 *
 * A holder that sleeps for longer than that (a stopped process, a lost network) wakes up beside a second one. So what a
 * lock protects should be right even then, and the lock only save work.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { asFileError } from './files.ts';
import { isAlive, processSpace } from './processes.ts';

const TOUCH_MS = 2_000;
/** Some touches may be late: a machine under load, a network file system. */
const STALE_MS = 30_000;

/** Tells this process from an earlier one with the same number. */
const NONCE = randomBytes(8).toString('hex');

export interface LockOptions {
  touchMs?: number;
  staleMs?: number;
  /** Milliseconds of a clock that never jumps. */
  now?: () => number;
}

export class LockFile {
  readonly #path: string;
  readonly #touchMs: number;
  readonly #staleMs: number;
  readonly #now: () => number;
  readonly #content: string;
  #held: { handle: FileHandle; timer: NodeJS.Timeout } | undefined;
  /** By path: what it was when it last changed, and when that was first seen. */
  readonly #seen = new Map<string, { state: string; since: number }>();

  constructor(path: string, options: LockOptions = {}) {
    this.#path = path;
    this.#touchMs = options.touchMs ?? TOUCH_MS;
    this.#staleMs = options.staleMs ?? STALE_MS;
    this.#now = options.now ?? (() => performance.now());
    const lock = randomBytes(8).toString('hex');
    this.#content = JSON.stringify({ pid: process.pid, of: processSpace(), process: NONCE, lock });
  }

  /** Whether the lock is now this object's. */
  async take(): Promise<boolean> {
    let handle = await this.#create(this.#path);
    handle ??= await this.#takeOver();
    if (handle === undefined) return false;
    const held = handle;
    const touch = () => {
      const now = new Date();
      // The file that was made, whatever the path means by now.
      held.utimes(now, now).catch(() => undefined);
    };
    this.#held = { handle, timer: setInterval(touch, this.#touchMs).unref() };
    return true;
  }

  /** Removes the file, unless somebody has taken it over. */
  async release(): Promise<void> {
    if (this.#held === undefined) return;
    const { handle, timer } = this.#held;
    this.#held = undefined;
    clearInterval(timer);
    await handle.close();
    if ((await contentOf(this.#path)) === this.#content) await rm(this.#path, { force: true });
  }

  async #create(path: string): Promise<FileHandle | undefined> {
    let handle: FileHandle;
    try {
      handle = await open(path, 'wx');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
      throw asFileError(error, path);
    }
    try {
      await handle.writeFile(this.#content);
      return handle;
    } catch (error) {
      await handle.close();
      await rm(path, { force: true });
      throw asFileError(error, path);
    }
  }

  /**
   * In the place of a holder that is gone. Of several that see it, one makes the file of the successor, which becomes
   * the lock in one step.
   */
  async #takeOver(): Promise<FileHandle | undefined> {
    const gone = await this.#abandoned(this.#path);
    if (gone === undefined) return undefined;
    const successor = `${this.#path}.next`;
    const handle = await this.#create(successor);
    if (handle === undefined) {
      // Left by a process that ended in the midst of this.
      if ((await this.#abandoned(successor)) !== undefined) await rm(successor, { force: true });
      return undefined;
    }
    try {
      if ((await contentOf(this.#path)) === gone) {
        await rename(successor, this.#path);
        return handle;
      }
    } catch (error) {
      await handle.close();
      await rm(successor, { force: true });
      throw asFileError(error, this.#path);
    }
    // Released, or another's by now.
    await handle.close();
    await rm(successor, { force: true });
    return undefined;
  }

  /** The content of a lock whose holder is gone, or undefined. */
  async #abandoned(path: string): Promise<string | undefined> {
    const content = await contentOf(path);
    const touched = (await stat(path).catch(() => undefined))?.mtimeMs;
    if (content === undefined || touched === undefined) {
      this.#seen.delete(path);
      return undefined;
    }
    const alive = isHolderAlive(content);
    if (alive !== undefined) return alive ? undefined : content;
    const state = `${touched} ${content}`;
    const seen = this.#seen.get(path);
    if (seen?.state === state) return this.#now() - seen.since > this.#staleMs ? content : undefined;
    this.#seen.set(path, { state, since: this.#now() });
    return undefined;
  }
}

async function contentOf(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}

/** Undefined where its number means nothing here: on another machine, in another container, before a restart. */
function isHolderAlive(content: string): boolean | undefined {
  let holder: { pid?: unknown; of?: unknown; process?: unknown } | null;
  try {
    holder = JSON.parse(content) as typeof holder;
  } catch {
    return undefined; // being written, or the disk was full
  }
  if (holder?.of !== processSpace()) return undefined;
  if (holder.pid === process.pid) return holder.process === NONCE;
  return isAlive(Number(holder.pid));
}
