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
import { chmod, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { AnnealError } from '../../../proto/errors.ts';
import { asFileError, fsyncDir, requireDiskSpace, writeFileAtomic } from '../../util/files.ts';
import { hashFile } from '../../util/hash.ts';
import { ConnectionError, type Response, request } from './http_request.ts';
import type { SourceOptions } from './settings.ts';

export interface FetchOptions extends Pick<SourceOptions, 'cacheDir'> {
  /** No bytes for this long: the connection is given up and made anew. */
  stallMs?: number;
  /** Of the first wait before another try; it doubles. */
  backoffMs?: number;
  /** Tries in a row that bring no bytes. */
  attempts?: number;
  signal?: AbortSignal;
  /** Told of bytes as they come in. */
  onBytes?: (bytes: number) => void;
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
/** A version that is here. */
type Known = z.output<typeof recordSchema>;

/** A URL, what its content must be if that is known, and where the cache has it. */
export interface UrlPlace {
  url: string;
  sha256: string | undefined;
  cache: string;
  /** What files about it are called. */
  key: string;
}

export class Download {
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

  constructor({ url, sha256, cache, key }: UrlPlace, options: FetchOptions) {
    this.#url = url;
    this.#expected = sha256;
    this.#cache = cache;
    this.#partial = join(cache, 'partial', key);
    this.#record = join(cache, 'urls', `${key}.json`);
    this.#options = options;
  }

  /** The path of what the URL had when it was last fetched, if that is still here; asks nobody. */
  async before(): Promise<string | undefined> {
    const known = await this.#known();
    return known && this.#blob(known.sha256);
  }

  /** The path of its content, which is fetched unless it is here. */
  async run(): Promise<string> {
    const known = await this.#known();
    // A checksum in the recipe says all there is to ask.
    if (known !== undefined && known.sha256 === this.#expected) return this.#blob(known.sha256);
    await this.#resumePartial();
    return this.#try(() => this.#attempt(known));
  }

  /** The path of its content if that is here, else how much it is; null where the server does not say. */
  async ask(): Promise<string | { bytes: number | null }> {
    const known = await this.#known();
    if (known !== undefined && known.sha256 === this.#expected) return this.#blob(known.sha256);
    return this.#try(async () => {
      // A byte of it, as some servers answer nothing but requests for content.
      const response = await this.#request({ ...questionAbout(known), range: 'bytes=0-0' });
      try {
        // Of an empty file not even that can be had.
        if (response.status === 416) return { bytes: 0 };
        return this.#unchanged(response, known, [200, 206]) ?? versionOf(response);
      } finally {
        response.discard();
      }
    });
  }

  /** Attempts until one has a result, with growing waits after those that broke without any progress. */
  async #try<T>(attemptOnce: () => Promise<T | undefined>): Promise<T> {
    const { attempts = ATTEMPTS, backoffMs = BACKOFF_MS, signal } = this.#options;
    for (let attempt = 1; ; ) {
      const before = this.#have;
      try {
        const result = await attemptOnce();
        if (result !== undefined) return result;
      } catch (error) {
        if (!(error instanceof ConnectionError)) throw asFileError(error, this.#partial);
        attempt = this.#have > before ? 1 : attempt + 1;
        if (attempt > attempts) throw this.#unreachable(error.message, attempts);
        const wait = Math.min(MAX_BACKOFF_MS, backoffMs * 2 ** (attempt - 1));
        await delay(wait, undefined, signal && { signal });
      }
    }
  }

  /** What the URL had last, if it is still here. */
  async #known(): Promise<Known | undefined> {
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

  async #request(headers: Record<string, string>): Promise<Response> {
    const { stallMs = STALL_MS, signal } = this.#options;
    return request(this.#url, headers, stallMs, signal).catch((error: unknown) => {
      if (error instanceof ConnectionError || signal?.aborted) throw error;
      throw this.#unreachable((error as Error).message, 1);
    });
  }

  /** The path of what is here, if the answer to a question about it says that this is what there is. */
  #unchanged(response: Response, known: Known | undefined, asked = [200]): string | undefined {
    const { status } = response;
    if (status === 304 && known !== undefined) return this.#checked(known.sha256);
    // Ranges that nobody asked for are no file.
    if (!asked.includes(status)) throw this.#refused(response);
    return known !== undefined && isSame(known, versionOf(response))
      ? this.#checked(known.sha256)
      : undefined;
  }

  /** One request. Returns the path when the file is whole; throws ConnectionError when it is worth going on. */
  async #attempt(known: Known | undefined): Promise<string | undefined> {
    const same = this.#version?.etag ?? this.#version?.last_modified;
    const goesOn = this.#have > 0 && same !== undefined;
    const response = await this.#request(
      goesOn ? { range: `bytes=${this.#have}-`, 'if-range': same } : questionAbout(known),
    );
    try {
      const { status } = response;
      if (goesOn && status === 416) {
        // What is here is no beginning of what is there.
        await this.#startAnew(undefined);
        return undefined;
      }
      const version = versionOf(response);
      if (goesOn && status === 206) {
        if (!this.#continues(response, version)) {
          await this.#startAnew(undefined);
          return undefined;
        }
      } else {
        const here = this.#unchanged(response, known);
        if (here !== undefined) return here;
        await this.#startAnew(version);
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
        this.#options.onBytes?.(chunk.length);
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
    // Another URL had the same: whoever reads that would take a new file in its place for a change.
    if ((await hashFile(blob).catch(() => undefined)) === sha256) {
      await rm(this.#partial);
    } else {
      await rename(this.#partial, blob);
      // Its name says what it holds.
      await chmod(blob, 0o444);
      await fsyncDir(join(this.#cache, 'blobs'));
    }
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

/** Headers that ask whether what is here is still what there is. */
function questionAbout(known: Known | undefined): Record<string, string> {
  if (known?.etag !== undefined) return { 'if-none-match': known.etag };
  return known?.last_modified === undefined ? {} : { 'if-modified-since': known.last_modified };
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
