/** URLs as sources, against a server that stalls, cuts, changes its mind and has no ranges. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { contents, failure, fetchSource } from './source_records.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);

/** What the server has and how it misbehaves. */
interface Site {
  content: Buffer;
  etag: string | undefined;
  lastModified: string | undefined;
  ranges: boolean;
  /** Bytes after which the next answers are cut or stall, one for each answer. */
  faults: { after: number; how: 'cut' | 'stall'; afterwards?: () => void }[];
  /** Statuses of the next answers instead of what they would be. */
  statuses: number[];
}
let site: Site;
const asked: { range: string | undefined; status: number; sent: number }[] = [];

function answer(request: IncomingMessage, response: ServerResponse): void {
  if (request.url === '/moved') {
    response.writeHead(302, { location: '/file.jsonl' }).end();
    return;
  }
  const { content, etag, lastModified } = site;
  const headers = {
    ...(etag === undefined ? {} : { etag }),
    ...(lastModified === undefined ? {} : { 'last-modified': lastModified }),
  };
  const range = site.ranges ? /^bytes=(\d+)-$/.exec(request.headers.range ?? '') : null;
  const same = request.headers['if-range'] === etag || request.headers['if-range'] === lastModified;
  const start = range !== null && same ? Number(range[1]) : 0;
  const unchanged =
    (etag !== undefined && request.headers['if-none-match'] === etag) ||
    (lastModified !== undefined && request.headers['if-modified-since'] === lastModified);
  const status = site.statuses.shift() ?? (unchanged ? 304 : start > 0 ? 206 : 200);
  const body = status === 200 || status === 206 ? content.subarray(start) : Buffer.alloc(0);
  const fault = body.length > 0 ? site.faults.shift() : undefined;
  asked.push({ range: request.headers.range, status, sent: fault?.after ?? body.length });
  response.writeHead(status, {
    ...headers,
    'content-length': body.length,
    ...(status === 206 ? { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` } : {}),
  });
  response.write(body.subarray(0, fault?.after ?? body.length));
  if (fault === undefined) response.end();
  // What was written before still arrives.
  else if (fault.how === 'cut') request.socket.end(fault.afterwards);
}

const server = createServer(answer);
let address = '';
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

let cacheDir = '';
let run = 0;
beforeEach(() => {
  asked.length = 0;
  run += 1;
  cacheDir = join(folder.path, `cache${run}`);
  site = {
    content: Buffer.from(Array.from({ length: 5000 }, (_, i) => `{"i":${i}}\n`).join('')),
    etag: '"one"',
    lastModified: undefined,
    ranges: true,
    faults: [],
    statuses: [],
  };
});

const quick = () => ({ cacheDir, stallMs: 150, backoffMs: 1, attempts: 3 });
const fetched = async (url = `${address}/file.jsonl`): Promise<Buffer> =>
  readFileSync(await fetchSource(url, quick()));

describe('a URL', () => {
  it('is fetched, named as it is, and not fetched again', async () => {
    const url = `${address}/file.jsonl?x=1`;
    const rows = await contents(url, {}, { cacheDir });
    expect(rows).toHaveLength(5000);
    expect(rows[7]).toEqual({ i: 7 });
    expect(await contents(url, {}, { cacheDir })).toHaveLength(5000);
    expect(asked.map(({ status }) => status)).toEqual([200, 304]);
    expect(readdirSync(join(cacheDir, 'blobs'))).toEqual([
      createHash('sha256').update(site.content).digest('hex'),
    ]);
    expect(readdirSync(join(cacheDir, 'partial'))).toEqual([]);
  });

  it('is followed where it leads', async () => {
    expect(await fetched(`${address}/moved`)).toEqual(site.content);
  });

  it('goes on where a connection was cut or stalled', async () => {
    site.faults = [
      { after: 10_000, how: 'cut' },
      { after: 7000, how: 'stall' },
    ];
    expect(await fetched()).toEqual(site.content);
    expect(asked.map(({ range }) => range)).toEqual([undefined, 'bytes=10000-', 'bytes=17000-']);
  });

  it('goes on in the next run, too', async () => {
    site.faults = Array.from({ length: 3 }, () => ({ after: 0, how: 'stall' as const }));
    site.faults.unshift({ after: 5000, how: 'cut' });
    const error = await failure(fetched());
    expect(error.code).toBe('source_unreachable');
    expect(error.message).toContain('cannot be fetched in 3 tries: no bytes for 0.15 s; 5000 bytes are kept');
    expect(await fetched()).toEqual(site.content);
    expect(asked.at(-1)!.range).toBe('bytes=5000-');
  });

  it('starts anew when the file was changed meanwhile', async () => {
    const change = () => {
      site.content = Buffer.from(site.content.toString().replaceAll('i', 'j'));
      site.etag = '"two"';
    };
    site.faults = [{ after: 10_000, how: 'cut', afterwards: change }];
    const content = await fetched();
    expect(content.toString()).toMatch(/^{"j":0}/);
    expect(content).toEqual(site.content);
    expect(asked.map(({ status }) => status)).toEqual([200, 200]);
  });

  it('is fetched again once it was changed', async () => {
    await fetched();
    site.content = Buffer.from('{"new":1}\n');
    site.etag = '"two"';
    expect(await fetched()).toEqual(site.content);
    expect(readdirSync(join(cacheDir, 'blobs'))).toHaveLength(2);
  });

  it('of a server without ranges starts anew', async () => {
    site.ranges = false;
    site.faults = [{ after: 10_000, how: 'cut' }];
    expect(await fetched()).toEqual(site.content);
    expect(asked.map(({ status }) => status)).toEqual([200, 200]);
  });

  it('of a server that tells no versions apart is never pieced together', async () => {
    site.etag = undefined;
    site.faults = [{ after: 10_000, how: 'cut' }];
    expect(await fetched()).toEqual(site.content);
    expect(asked.map(({ range }) => range)).toEqual([undefined, undefined]);
  });

  it('goes on by the time of change where there is no tag', async () => {
    site.etag = undefined;
    site.lastModified = 'Sat, 28 Nov 2026 06:00:00 GMT';
    site.faults = [{ after: 10_000, how: 'cut' }];
    expect(await fetched()).toEqual(site.content);
    expect(asked.map(({ status }) => status)).toEqual([200, 206]);
  });

  it('is tried again when the server is busy, not when it refuses', async () => {
    site.statuses = [503, 429];
    expect(await fetched()).toEqual(site.content);
    site.statuses = [404];
    const missing = await failure(fetched(`${address}/other`));
    expect(missing.code).toBe('file_not_found');
    expect(missing.message).toContain('(the server answers 404)');
    site.statuses = [403];
    expect((await failure(fetched(`${address}/third`))).message).toContain(
      'cannot be fetched: it answers 403',
    );
  });

  it('must be what its checksum says', async () => {
    const sha256 = createHash('sha256').update(site.content).digest('hex');
    const url = `${address}/file.jsonl`;
    expect(await fetched(`${url}#sha256=${sha256}`)).toEqual(site.content);
    await fetched(`${url}#sha256=${sha256}`);
    expect(asked).toHaveLength(1);
    const error = await failure(fetched(`${url}2#sha256=${'0'.repeat(64)}`));
    expect(error.message).toContain(`is not what it should be: its SHA-256 is ${sha256}`);
  });

  it('must be what its checksum says, also where it is here already', async () => {
    const url = `${address}/file.jsonl`;
    await fetched(url);
    const error = await failure(fetched(`${url}#sha256=${'0'.repeat(64)}`));
    expect(error.message).toContain('is not what it should be');
    expect(asked.map(({ status }) => status)).toEqual([200, 304]);
    expect((await failure(fetched(`${url}#sha256=00`))).hint).toContain('64 hexadecimal digits');
  });

  it('that nobody answers is an error', async () => {
    const error = await failure(fetched('http://127.0.0.1:1/x.jsonl'));
    expect(error.code).toBe('source_unreachable');
    expect(error.message).toContain('ECONNREFUSED');
  });

  it('is fetched once when several ask for it at a time', async () => {
    const all = await Promise.all([fetched(), fetched(), fetched()]);
    for (const content of all) expect(content).toEqual(site.content);
    expect(asked.map(({ status }) => status)).toEqual([200, 304, 304]);
  });
});
