/** Many URLs: several at once, shared out among those that ask together, asked about only where a plan is made. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readManifest } from '../../src/data/dataset.ts';
import { type FetchProgress, fetchSources, NotFetched, setFetching } from '../../src/data/sources/fetch.ts';
import { tokenizerStage } from '../../src/stages/tokenizer.ts';
import { filesOf, prepareHere } from './prepare_process.ts';
import { Site } from './site.ts';
import { failure } from './source_records.ts';
import { generatedText, runStage, temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
const site = new Site();
beforeAll(() => site.start());
afterAll(() => {
  site.stop();
  folder.remove();
});

const NAMES = Array.from({ length: 20 }, (_, i) => `part-${i}.jsonl`);
const content = (i: number, rows = 20) =>
  Array.from(
    { length: rows },
    (_, k) => `${JSON.stringify({ text: generatedText(100 * i + k, 30) })}\n`,
  ).join('');
let run = 0;
let options = { cacheDir: '', backoffMs: 1, attempts: 2, stallMs: 20_000 };
beforeEach(() => {
  for (const [i, name] of NAMES.entries()) site.files.set(name, Buffer.from(content(i)));
  site.clear();
  site.release = Promise.resolve();
  options = { ...options, cacheDir: join(folder.path, `cache${++run}`) };
});
afterEach(() => setFetching({}));
const urls = () => NAMES.map((name) => site.url(name));

describe('many URLs', () => {
  it('are fetched several at once, each once', async () => {
    let release = (): void => undefined;
    site.release = new Promise((resolve) => {
      release = resolve;
    });
    const fetching = fetchSources([...urls(), site.url(NAMES[0]!)], options);
    await expect.poll(() => site.mostAtOnce, { timeout: 10_000 }).toBe(8);
    release();
    const found = await fetching;
    expect([...found.keys()].sort()).toEqual(urls().sort());
    for (const [i, url] of urls().entries()) {
      expect(readFileSync(found.get(url)!, 'utf8')).toBe(content(i));
    }
    expect([...site.sent.values()]).toEqual(NAMES.map(() => 1));
    expect(site.mostAtOnce).toBe(8);
  });

  it('are shared out among those that ask for them together', async () => {
    const all = await Promise.all([1, 2, 3].map(() => fetchSources(urls(), options)));
    for (const found of all) expect(found.size).toBe(NAMES.length);
    expect([...site.sent.values()]).toEqual(NAMES.map(() => 1));
  });

  it('of which one is missing are an error that names it, and what is here stays', async () => {
    site.files.delete(NAMES[5]!);
    const error = await failure(fetchSources(urls(), options));
    expect(error.code).toBe('file_not_found');
    expect(error.path).toBe(site.url(NAMES[5]!));
    site.files.set(NAMES[5]!, Buffer.from(content(5)));
    expect((await fetchSources(urls(), options)).size).toBe(NAMES.length);
  });

  it('with the same content are one file, which is left as it was', async () => {
    const [first, second] = urls();
    site.files.set(NAMES[1]!, site.files.get(NAMES[0]!)!);
    const path = (await fetchSources([first!], options)).get(first!)!;
    const before = statSync(path);
    expect((await fetchSources([second!], options)).get(second!)).toBe(path);
    expect(statSync(path)).toMatchObject({ ino: before.ino, mtimeMs: before.mtimeMs });
    expect(readdirSync(join(options.cacheDir, 'partial'))).toEqual([]);
    // One that was damaged is put right.
    chmodSync(path, 0o644);
    writeFileSync(path, Buffer.alloc(before.size));
    site.files.set(NAMES[2]!, site.files.get(NAMES[0]!)!);
    await fetchSources([urls()[2]!], options);
    expect(readFileSync(path)).toEqual(site.files.get(NAMES[0]!));
  });

  it('tell how far they are', async () => {
    const told: FetchProgress[] = [];
    setFetching({ onProgress: (progress) => told.push(progress) });
    await fetchSources(urls(), options);
    const bytes = [...site.files.values()].reduce((sum, { length }) => sum + length, 0);
    expect(told.at(-1)).toMatchObject({ urls: NAMES.length, bytes });
    expect(told.map((each) => each.bytes)).toEqual(told.map((each) => each.bytes).sort((a, b) => a - b));
  });

  it('end when they are told to', async () => {
    const stop = new AbortController();
    setFetching({ signal: stop.signal });
    site.release = new Promise(() => undefined);
    const fetching = fetchSources(urls(), options);
    await expect.poll(() => site.mostAtOnce, { timeout: 10_000 }).toBe(8);
    stop.abort();
    await expect(fetching).rejects.toThrow();
  });
});

describe('where a plan is made', () => {
  beforeEach(() => setFetching({ asksOnly: true }));

  it('nothing is fetched, and it is known how much it would be', async () => {
    const error = await fetchSources(urls(), options).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(NotFetched);
    const bytes = [...site.files.values()].reduce((sum, { length }) => sum + length, 0);
    expect(error).toMatchObject({ urls: NAMES.length, bytes });
    expect(site.sent.size).toBe(0);
  });

  it('what is here is found, and what was changed there is not', async () => {
    setFetching({});
    const here = await fetchSources(urls(), options);
    setFetching({ asksOnly: true });
    expect(await fetchSources(urls(), options)).toEqual(here);
    site.files.set(NAMES[3]!, Buffer.from('{"text": "new"}\n'));
    expect(await fetchSources(urls(), options).catch((error: unknown) => error)).toMatchObject({
      urls: 1,
      bytes: 16,
    });
  });

  it('an address that leads nowhere is an error already', async () => {
    expect((await failure(fetchSources([site.url('none.jsonl')], options))).code).toBe('file_not_found');
    expect((await failure(fetchSources(['http://127.0.0.1:1/x.jsonl'], options))).code).toBe(
      'source_unreachable',
    );
  });
});

it('a URL has what it had at the first look, where that is remembered', async () => {
  const remembered = new Map<string, string>();
  setFetching({ remembered });
  const [url] = urls();
  const first = (await fetchSources([url!], options)).get(url!);
  site.files.set(NAMES[0]!, Buffer.from('{"text": "new"}\n'));
  expect((await fetchSources([url!], options)).get(url!)).toBe(first);
  setFetching({ remembered: new Map() });
  expect((await fetchSources([url!], options)).get(url!)).not.toBe(first);
});

describe('a preparation of URLs in parts', () => {
  const base = (name: string) => join(folder.path, name);
  const before = process.env.XDG_CACHE_HOME;
  afterAll(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
  });

  it('by machines that share a cache fetches each URL once, and is that of a single run', async () => {
    const text = Array.from({ length: 50 }, (_, i) => generatedText(i, 40)).join('\n');
    site.files.set('words.txt', Buffer.from(text));
    process.env.XDG_CACHE_HOME = base('xdg-parts');
    mkdirSync(base('tokenizer'));
    await runStage(
      tokenizerStage,
      { files: [site.url('words.txt')], vocab_size: 400 },
      { outDir: base('tokenizer'), baseDir: folder.path },
    );
    site.clear();
    const settings = { files: urls(), unit_bytes: 3000, dedup: { near: true } };
    const prepare = (name: string, more: object = {}) =>
      prepareHere({
        settings: { ...settings, ...more },
        baseDir: folder.path,
        workDir: base(`${name}.work`),
        outDir: base(name),
      });
    const work_dir = base('shared');
    await Promise.all([
      prepare('part1', { work_dir, part: '1/2' }),
      prepare('part2', { work_dir, part: '2/2' }),
    ]);
    expect([...site.sent.values()]).toEqual(NAMES.map(() => 1));
    await prepare('merged', { work_dir });
    expect([...site.sent.values()]).toEqual(NAMES.map(() => 1));
    process.env.XDG_CACHE_HOME = base('xdg-alone');
    await prepare('alone');
    expect(readManifest(base('merged')).content_hash).toBe(readManifest(base('alone')).content_hash);
    const shards = (name: string) =>
      Object.fromEntries(Object.entries(filesOf(base(name))).filter(([file]) => file.endsWith('.bin')));
    expect(shards('merged')).toEqual(shards('alone'));
  }, 60_000);
});
