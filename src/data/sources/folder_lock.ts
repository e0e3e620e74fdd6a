/** A lock file between processes, perhaps on several machines with one file system: whoever holds it, touches it. */
import { open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { asFileError } from '../../util/files.ts';
import { isAlive } from '../../util/processes.ts';

const TOUCH_MS = 5_000;
/** A lock that was not touched for this long is nobody's. */
const STALE_MS = 60_000;
const POLL_MS = 200;

export async function withFolderLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const mine = `${hostname()} ${process.pid} ${Math.random()}`;
  while (!(await acquire(path, mine))) {
    if (await isStale(path)) await rm(path, { force: true });
    else await delay(POLL_MS);
  }
  const touch = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, TOUCH_MS);
  try {
    return await work();
  } finally {
    clearInterval(touch);
    if ((await readFile(path, 'utf8').catch(() => '')) === mine) await rm(path, { force: true });
  }
}

async function acquire(path: string, mine: string): Promise<boolean> {
  try {
    const handle = await open(path, 'wx');
    try {
      await handle.writeFile(mine);
    } finally {
      await handle.close();
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw asFileError(error, path);
  }
}

async function isStale(path: string): Promise<boolean> {
  try {
    const [host, pid] = (await readFile(path, 'utf8')).split(' ');
    if (host === hostname() && pid !== undefined && !isAlive(Number(pid))) return true;
    return Date.now() - (await stat(path)).mtimeMs > STALE_MS;
  } catch {
    return false;
  }
}
