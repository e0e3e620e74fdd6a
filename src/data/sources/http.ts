/**
 * Files of URLs, kept in a cache folder under the hash of their content. What was fetched before is asked about, not
 * fetched again; what was cut short goes on where it stopped, as long as the server says that the file is still the
 * same. So a unit of a URL always reads the very bytes that were listed.
 *
 *     blobs/<sha256>           whole files
 *     urls/<hash>.json         which of them a URL had last, and how the server told versions apart
 *     partial/<hash>           a download that is not complete, with <hash>.json beside it
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { AnnealError } from '../../../proto/errors.ts';
import { asFileError, fsyncDir, makeDir, requireDiskSpace, writeFileAtomic } from '../../util/files.ts';
import { withLock } from '../../util/lock_file.ts';
import { ConnectionError, type Response, request } from './http_request.ts';
import type { SourceOptions } from './settings.ts';

export interface FetchOptions extends Pick<SourceOptions, 'cacheDir' | 'onFetch' | 'signal'> {
  /** No bytes for this long: the connection is given up and made anew. */
  stallMs?: number;
  /** Of the first wait before another try; it doubles. */
  backoffMs?: number;
  /** Tries in a row that bring no bytes. */
  attempts?: number;
}

const STALL_MS = 30_000;
const BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
const ATTEMPTS = 6;

/** How a server tells versions of a file apart. */
const versionSchema = z.object({
  etag: z.string().optional(),
  last_modified: z.string().optional(),
  /** Of the whole file. */
  bytes: z.number().nullable(),
});
type Version = z.output<typeof versionSchema>;
const recordSchema = versionSchema.extend({ url: z.string(), sha256: z.string() });

export function isUrl(pattern: string): boolean {
  return /^https?:\/\//i.test(pattern);
}

/** The folder of fetched files unless told otherwise. */
function defaultCacheDir(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'anneal', 'sources');
}

/** The path of a URL's content on this machine. `#sha256=HEX` behind a URL says what it must be. */
export async function fetchSource(source: string, options: FetchOptions = {}): Promise<string> {
  const [url, expected] = splitChecksum(source);
  const cache = options.cacheDir ?? defaultCacheDir();
  for (const folder of ['blobs', 'urls', 'partial']) await makeDir(join(cache, folder));
  const key = keyOf(url);
  return withLock(join(cache, 'partial', `${key}.lock`), () =>
    new Download(url, expected, cache, key, options).run(),
  );
}

/** The path of what a URL had when it was last fetched, if that is still here; asks nobody. */
export async function fetchedBefore(source: string, cache = defaultCacheDir()): Promise<string | undefined> {
  const [url, expected] = splitChecksum(source);
  return new Download(url, expected, cache, keyOf(url), {}).before();
}

/** What the files about a URL are called. */
function keyOf(url: string): string {
  return createHash('sha256').update(url).digest('hex').slice(0, 40);
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

class Download {
  readonly #url: string;
  readonly #expected: string | undefined;
  readonly #cache: string;
  readonly #partial: string;
  readonly #record: string;
  readonly #options: FetchOptions;
  /** What was fetched so far, and of which version. */
  #have = 0;
  #version: Version | undefined;
  #hash: Hash = createHash('sha256');

  constructor(url: string, expected: string | undefined, cache: string, key: string, options: FetchOptions) {
    this.#url = url;
    this.#expected = expected;
    this.#cache = cache;
    this.#partial = join(cache, 'partial', key);
    this.#record = join(cache, 'urls', `${key}.json`);
    this.#options = options;
  }

  async before(): Promise<string | undefined> {
    const known = await this.#known();
    return known && this.#blob(known.sha256);
  }

  async run(): Promise<string> {
    const known = await this.#known();
    // A checksum in the recipe says all there is to ask.
    if (known !== undefined && known.sha256 === this.#expected) return this.#blob(known.sha256);
    await this.#resumePartial();
    const { attempts = ATTEMPTS, backoffMs = BACKOFF_MS } = this.#options;
    for (let attempt = 1; ; ) {
      const before = this.#have;
      try {
        const path = await this.#attempt(known);
        if (path !== undefined) return path;
      } catch (error) {
        if (!(error instanceof ConnectionError)) throw asFileError(error, this.#partial);
        attempt = this.#have > before ? 1 : attempt + 1;
        if (attempt > attempts) throw this.#unreachable(error.message, attempts);
        await delay(Math.min(MAX_BACKOFF_MS, backoffMs * 2 ** (attempt - 1)), undefined, {
          ...(this.#options.signal === undefined ? {} : { signal: this.#options.signal }),
        });
      }
    }
  }

  /** What the URL had last, if it is still here. */
  async #known(): Promise<z.output<typeof recordSchema> | undefined> {
    const record = recordSchema.safeParse(await readJsonOrNothing(this.#record)).data;
    if (record === undefined) return undefined;
    const size = await stat(this.#blob(record.sha256)).then(
      (stats) => stats.size,
      () => undefined,
    );
    return size === record.bytes ? record : undefined;
  }

  async #resumePartial(): Promise<void> {
    const version = versionSchema.safeParse(await readJsonOrNothing(`${this.#partial}.json`)).data;
    if (version === undefined || (version.etag ?? version.last_modified) === undefined) return;
    const size = await stat(this.#partial).then(
      (stats) => stats.size,
      () => 0,
    );
    if (size === 0) return;
    for await (const chunk of createReadStream(this.#partial)) this.#hash.update(chunk as Buffer);
    this.#have = size;
    this.#version = version;
  }

  /** One request. Returns the path when the file is whole; throws ConnectionError when it is worth going on. */
  async #attempt(known: z.output<typeof recordSchema> | undefined): Promise<string | undefined> {
    const headers: Record<string, string> = {};
    const same = this.#version?.etag ?? this.#version?.last_modified;
    if (this.#have > 0 && same !== undefined) {
      headers.range = `bytes=${this.#have}-`;
      headers['if-range'] = same;
    } else if (known !== undefined) {
      if (known.etag !== undefined) headers['if-none-match'] = known.etag;
      else if (known.last_modified !== undefined) headers['if-modified-since'] = known.last_modified;
    }
    const { stallMs = STALL_MS, signal } = this.#options;
    const response = await request(this.#url, headers, stallMs, signal).catch((error: unknown) => {
      if (error instanceof ConnectionError || signal?.aborted) throw error;
      throw this.#unreachable((error as Error).message, 1);
    });
    try {
      if (response.status === 304 && known !== undefined) return this.#checked(known.sha256);
      // Ranges that nobody asked for are no file.
      if (this.#have === 0 && (response.status === 206 || response.status === 416))
        throw this.#refused(response);
      if (response.status === 416) {
        // What is here is no beginning of what is there.
        await this.#startAnew(undefined);
        return undefined;
      }
      if (response.status !== 200 && response.status !== 206) throw this.#refused(response);
      const version = versionOf(response);
      if (response.status === 200) {
        if (known !== undefined && isSame(known, version)) return this.#checked(known.sha256);
        await this.#startAnew(version);
      } else if (!this.#continues(response, version)) {
        await this.#startAnew(undefined);
        return undefined;
      }
      await this.#receive(response);
      return await this.#complete();
    } finally {
      response.discard();
    }
  }

  /** Whether a partial answer begins where the download stopped, in the same version. */
  #continues(response: Response, version: Version): boolean {
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers['content-range'] ?? '');
    const { etag, last_modified, bytes } = this.#version!;
    return (
      range !== null &&
      Number(range[1]) === this.#have &&
      (version.etag === undefined || version.etag === etag) &&
      (version.last_modified === undefined || version.last_modified === last_modified) &&
      (bytes === null || range[3] === '*' || Number(range[3]) === bytes)
    );
  }

  async #startAnew(version: Version | undefined): Promise<void> {
    await rm(this.#partial, { force: true });
    this.#have = 0;
    this.#hash = createHash('sha256');
    this.#version = version;
    if (version === undefined) await rm(`${this.#partial}.json`, { force: true });
    else await writeFileAtomic(`${this.#partial}.json`, JSON.stringify(version));
  }

  async #receive(response: Response): Promise<void> {
    const total = this.#version!.bytes;
    if (total !== null) await requireDiskSpace(this.#cache, total - this.#have, `Fetching ${this.#url}`);
    const handle = await open(this.#partial, 'a');
    try {
      for await (const chunk of response.body) {
        await handle.writeFile(chunk);
        this.#hash.update(chunk);
        this.#have += chunk.length;
        this.#options.onFetch?.(this.#url, this.#have, total);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (total !== null && this.#have < total) throw new ConnectionError('the connection was closed early');
  }

  /** Gives the whole file its name. */
  async #complete(): Promise<string> {
    const sha256 = this.#hash.digest('hex');
    const version = this.#version!;
    const sent = this.#have;
    if (version.bytes !== null && sent !== version.bytes) {
      await this.#startAnew(undefined);
      throw this.#unreachable(`it sent ${sent} bytes of a file of ${version.bytes}`, 1);
    }
    if (this.#isOther(sha256)) {
      await this.#startAnew(undefined);
      throw this.#otherContent(sha256);
    }
    const blob = this.#blob(sha256);
    await rename(this.#partial, blob);
    await fsyncDir(join(this.#cache, 'blobs'));
    const record = { url: this.#url, sha256, ...version, bytes: this.#have };
    await writeFileAtomic(this.#record, `${JSON.stringify(record, null, 2)}\n`);
    await rm(`${this.#partial}.json`, { force: true });
    return blob;
  }

  #blob(sha256: string): string {
    return join(this.#cache, 'blobs', sha256);
  }

  /** The path of content that is here already. */
  #checked(sha256: string): string {
    if (this.#isOther(sha256)) throw this.#otherContent(sha256);
    return this.#blob(sha256);
  }

  #isOther(sha256: string): boolean {
    return this.#expected !== undefined && sha256 !== this.#expected;
  }

  #otherContent(sha256: string): AnnealError {
    return new AnnealError(
      'file_unreadable',
      `${this.#url} is not what it should be: its SHA-256 is ${sha256}.`,
      {
        path: this.#url,
        hint: `The recipe says #sha256=${this.#expected}: the file was changed, or came damaged.`,
      },
    );
  }

  /** An answer that is no file: an error, or a reason to try again. */
  #refused(response: Response): Error {
    const { status } = response;
    if (status >= 500 || status === 408 || status === 429) return new ConnectionError(`it answers ${status}`);
    if (status === 404 || status === 410) {
      return new AnnealError(
        'file_not_found',
        `${this.#url} does not exist (the server answers ${status}).`,
        {
          path: this.#url,
        },
      );
    }
    return this.#unreachable(`it answers ${status}`, 1);
  }

  #unreachable(why: string, attempts: number): AnnealError {
    const kept = this.#have > 0 ? `; ${this.#have} bytes are kept, the next run goes on from there` : '';
    return new AnnealError(
      'source_unreachable',
      `${this.#url} cannot be fetched${attempts > 1 ? ` in ${attempts} tries` : ''}: ${why}${kept}.`,
      {
        path: this.#url,
        hint: 'Check the address and the network, or fetch the file by other means and name it.',
      },
    );
  }
}

function versionOf({ status, headers }: Response): Version {
  const { etag, 'last-modified': lastModified } = headers;
  const length = status === 206 ? headers['content-range']?.split('/')[1] : headers['content-length'];
  return {
    // A weak tag may stand for other bytes.
    ...(etag === undefined || etag.startsWith('W/') ? {} : { etag }),
    ...(lastModified === undefined ? {} : { last_modified: lastModified }),
    bytes: length !== undefined && /^\d+$/.test(length) ? Number(length) : null,
  };
}

/** Whether an answer in full is the version that is here: the server did not heed the question. */
function isSame(known: Version, now: Version): boolean {
  if (now.bytes === null || now.bytes !== known.bytes) return false;
  if (known.etag !== undefined || now.etag !== undefined) return known.etag === now.etag;
  return known.last_modified === now.last_modified;
}

async function readJsonOrNothing(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return undefined;
  }
}
