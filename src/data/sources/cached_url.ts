/** A URL as recipes name it, and its place in the cache of what was fetched, which processes and machines may share. */
import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { AnnealError } from '../../../proto/errors.ts';
import { makeDir } from '../../util/files.ts';
import { LockFile } from '../../util/lock_file.ts';
import { Download, type FetchOptions, type UrlPlace } from './http.ts';

export function isUrl(pattern: string): boolean {
  return /^https?:\/\//i.test(pattern);
}

/** The folder of fetched files unless told otherwise. */
function defaultCacheDir(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'anneal', 'sources');
}

/** The SHA-256 of a file that was fetched, by its name in the cache; undefined for any other. */
export function fetchedHash(path: string): string | undefined {
  return dirname(path) === join(defaultCacheDir(), 'blobs') ? basename(path) : undefined;
}

export class CachedUrl {
  readonly source: string;
  readonly #place: UrlPlace;
  readonly #options: FetchOptions;
  /** Kept from look to look, as only that shows a holder that is gone. */
  readonly #lock: LockFile;

  /** `#sha256=HEX` behind a URL says what its content must be. */
  constructor(source: string, options: FetchOptions = {}) {
    const [url, sha256] = splitChecksum(source);
    const cache = options.cacheDir ?? defaultCacheDir();
    const key = createHash('sha256').update(url).digest('hex').slice(0, 40);
    this.source = source;
    this.#place = { url, sha256, cache, key };
    this.#options = options;
    this.#lock = new LockFile(join(cache, 'partial', `${key}.lock`));
  }

  /** The path of its content; undefined while another process, or another part of this one, is fetching it. */
  async fetch(signal: AbortSignal): Promise<string | undefined> {
    for (const folder of ['blobs', 'urls', 'partial']) await makeDir(join(this.#place.cache, folder));
    if (!(await this.#lock.take())) return undefined;
    try {
      return await new Download(this.#place, { ...this.#options, signal }).run();
    } finally {
      await this.#lock.release();
    }
  }

  /** The path of its content if that is here, else how much it is; null where the server does not say. */
  ask(signal: AbortSignal): Promise<string | { bytes: number | null }> {
    return new Download(this.#place, { ...this.#options, signal }).ask();
  }

  /** The path of what it had when it was last fetched, if that is still here; asks nobody. */
  before(): Promise<string | undefined> {
    return new Download(this.#place, this.#options).before();
  }
}

function splitChecksum(source: string): [url: string, sha256: string | undefined] {
  const hash = source.indexOf('#');
  if (hash < 0) return [source, undefined];
  const fragment = source.slice(hash);
  const sha256 = /^#sha256=([0-9a-f]{64})$/i.exec(fragment)?.[1];
  if (sha256 === undefined && /^#sha256/i.test(fragment)) {
    throw new AnnealError('file_unreadable', `${source} has no SHA-256 that a file could have.`, {
      path: source,
      hint: 'Write #sha256= and its 64 hexadecimal digits behind the address.',
    });
  }
  return [source.slice(0, hash), sha256?.toLowerCase()];
}
