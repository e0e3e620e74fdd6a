/**
 * URLs as files, several at once. Of those that another process is at, on any machine that shares the cache, the others
 * come first: so machines that start together share out what is to be fetched.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { forEach } from '../../util/at_once.ts';
import { exists } from '../../util/files.ts';
import { CachedUrl } from './cached_url.ts';
import type { FetchOptions } from './http.ts';

/** How far the fetching is: of URLs asked for together, those that are here, and the bytes that came in. */
export interface FetchProgress {
  urls: number;
  done: number;
  bytes: number;
}

/** How a process fetches: who asks for files in it does not know what it is for. */
export interface Fetching {
  /** Nothing is fetched, as for a plan, which is there in seconds: what is not here is a `NotFetched`. */
  asksOnly?: boolean;
  /** Paths by URL: what it had at the first look it has for good, as a job is made of one version of it. */
  remembered?: Map<string, string>;
  onProgress?: (progress: FetchProgress) => void;
  signal?: AbortSignal;
}

let fetching: Fetching = {};

export function setFetching(how: Fetching): void {
  fetching = how;
}

/** What URLs have is not here, in a process that only asks. */
export class NotFetched extends Error {
  readonly urls: number;
  /** Of those whose server says how much it is. */
  readonly bytes: number;

  constructor(urls: number, bytes: number) {
    super(`${urls} URLs are still to be fetched`);
    this.urls = urls;
    this.bytes = bytes;
  }
}

const FETCHES_AT_ONCE = 8;
/** How long URLs that others are at are left alone before the next look. */
const BUSY_MS = 500;

/** The paths of what URLs have, by URL; `#sha256=HEX` behind one says what that must be. */
export async function fetchSources(
  sources: readonly string[],
  options: FetchOptions = {},
): Promise<Map<string, string>> {
  const { asksOnly, remembered, onProgress, signal } = fetching;
  const found = new Map<string, string>();
  let bytes = 0;
  let left: CachedUrl[] = [];
  for (const source of new Set(sources)) {
    const path = remembered?.get(source);
    if (path !== undefined && (await exists(path))) found.set(source, path);
    else left.push(new CachedUrl(source, { ...options, onBytes }));
  }
  const urls = left.length;
  const here = found.size;
  function onBytes(more: number): void {
    bytes += more;
    onProgress?.({ urls, done: found.size - here, bytes });
  }
  const both = (own: AbortSignal) => (signal === undefined ? own : AbortSignal.any([own, signal]));
  if (asksOnly) return askFor(left, found, both);
  while (left.length > 0) {
    const busy: CachedUrl[] = [];
    await forEach(left, FETCHES_AT_ONCE, async (url, own) => {
      const path = await url.fetch(both(own));
      if (path === undefined) busy.push(url);
      else found.set(url.source, path);
    });
    if (busy.length === left.length) await delay(BUSY_MS, undefined, signal && { signal });
    left = busy;
  }
  for (const [source, path] of found) remembered?.set(source, path);
  return found;
}

async function askFor(
  urls: readonly CachedUrl[],
  found: Map<string, string>,
  both: (own: AbortSignal) => AbortSignal,
): Promise<Map<string, string>> {
  let missing = 0;
  let bytes = 0;
  await forEach(urls, FETCHES_AT_ONCE, async (url, own) => {
    const answer = await url.ask(both(own));
    if (typeof answer === 'string') found.set(url.source, answer);
    else {
      missing += 1;
      bytes += answer.bytes ?? 0;
    }
  });
  if (missing > 0) throw new NotFetched(missing, bytes);
  return found;
}
