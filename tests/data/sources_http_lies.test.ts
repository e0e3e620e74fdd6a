/** A server that says what it likes, byte by byte: what it sends is whole and of one version, or an error. */

import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { failure, fetchSource } from './source_records.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);

/** An answer: its bytes, and what happens to the connection behind them. */
interface Answer {
  bytes: string;
  ending: 'close' | 'reset' | 'stall';
}
/** The answers to come, one a request; the last one stays. */
let answers: Answer[] = [];
let asked: string[] = [];
const sockets = new Set<Socket>();

const server = createServer((socket) => {
  sockets.add(socket);
  socket.on('error', () => undefined);
  socket.once('data', (request) => {
    asked.push(/^range: (.*)\r$/im.exec(request.toString())?.[1] ?? 'whole');
    const { bytes, ending } = answers.length > 1 ? answers.shift()! : answers[0]!;
    socket.write(bytes, () => {
      if (ending === 'close') socket.end();
      else if (ending === 'reset') setImmediate(() => socket.resetAndDestroy());
    });
  });
});
let address = '';
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/file.txt`;
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
});
let run = 0;
beforeEach(() => {
  asked = [];
  run += 1;
});

const FILE = 'It is told by those who live there. '.repeat(20);
const OTHER = FILE.toUpperCase();

function answer(
  status: string,
  headers: Record<string, string | number>,
  body: string,
  ending: Answer['ending'] = 'close',
) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return { bytes: `HTTP/1.1 ${status}\r\n${lines.join('')}\r\n${body}`, ending };
}
const whole = (body: string, etag = '"one"', length = body.length) =>
  answer('200 OK', { etag, 'content-length': length }, body);
const half = { ...whole(FILE.slice(0, 300), '"one"', FILE.length), ending: 'reset' as Answer['ending'] };
const rest = (from: number, of: string, more: Record<string, string | number> = {}) =>
  answer(
    '206 Partial Content',
    {
      etag: '"one"',
      'content-length': of.length - from,
      'content-range': `bytes ${from}-${of.length - 1}/${of.length}`,
      ...more,
    },
    of.slice(from),
  );

async function fetched(...given: Answer[]): Promise<string> {
  answers = given;
  const stalls = given.some(({ ending }) => ending === 'stall');
  const options = {
    cacheDir: join(folder.path, `cache${run}`),
    stallMs: stalls ? 300 : 60_000,
    backoffMs: 1,
    attempts: 3,
  };
  return readFileSync(await fetchSource(address, options), 'utf8');
}

describe('a connection', () => {
  it.each(['close', 'reset', 'stall'] as const)(
    'that ends by %s goes on where it stopped',
    async (ending) => {
      expect(await fetched({ ...half, ending }, rest(300, FILE))).toBe(FILE);
      expect(asked).toEqual(['whole', 'bytes=300-']);
    },
  );

  it.each(['close', 'reset', 'stall'] as const)(
    'that ends by %s before any answer is tried again',
    async (ending) => {
      expect(
        await fetched({ bytes: '', ending }, { bytes: 'HTTP/1.1 200 OK\r\netag: "o', ending }, whole(FILE)),
      ).toBe(FILE);
      const error = await failure(fetched({ bytes: '', ending }));
      expect(error.code).toBe('source_unreachable');
      expect(error.message).toContain('in 3 tries');
    },
  );

  it('that ends within chunks is no whole file', async () => {
    const chunked = { etag: '"one"', 'transfer-encoding': 'chunked' };
    const cut = answer('200 OK', chunked, `12c\r\n${FILE.slice(0, 300)}\r\n1f`);
    expect(await fetched(cut, rest(300, FILE))).toBe(FILE);
    const badly = answer('200 OK', chunked, `12c\r\n${FILE.slice(0, 300)}\r\nzz\r\n`, 'stall');
    run += 1;
    expect(await fetched(badly, rest(300, FILE))).toBe(FILE);
  });

  it('that speaks no HTTP is an error', async () => {
    const error = await failure(fetched({ bytes: 'SSH-2.0-OpenSSH_9.2\r\n', ending: 'close' }));
    expect(error.code).toBe('source_unreachable');
  });
});

describe('a length', () => {
  it('longer than what comes is waited for, and then an error', async () => {
    const error = await failure(fetched(whole(FILE, '"one"', FILE.length + 7), rest(FILE.length, FILE)));
    expect(error.code).toBe('source_unreachable');
  });

  it('that another answer contradicts makes it start anew', async () => {
    const longer = `${FILE}and more`;
    expect(await fetched(half, rest(300, longer), whole(longer))).toBe(longer);
    expect(asked).toEqual(['whole', 'bytes=300-', 'whole']);
  });

  it('that a part exceeds is an error', async () => {
    const more = answer(
      '206 Partial Content',
      { etag: '"one"', 'content-range': `bytes 300-${FILE.length - 1}/${FILE.length}` },
      `${FILE.slice(300)}and more`,
    );
    const error = await failure(fetched(half, more));
    expect(error.message).toContain(`it sent ${FILE.length + 8} bytes of a file of ${FILE.length}`);
    expect(await fetched(whole(FILE))).toBe(FILE);
  });
});

describe('a part', () => {
  it.each([
    ['of another version', rest(300, OTHER, { etag: '"two"' })],
    ['of another place', rest(200, FILE)],
    ['without a place', answer('206 Partial Content', { etag: '"one"', 'content-length': 5 }, 'wrong')],
    ['of several parts', rest(300, FILE, { 'content-range': 'bytes 300-400,500-600/720' })],
    ['that does not exist', answer('416 Range Not Satisfiable', {}, '')],
  ])('%s is not pieced together', async (_, part) => {
    expect(await fetched(half, part, whole(OTHER, '"two"'))).toBe(OTHER);
    expect(asked).toEqual(['whole', 'bytes=300-', 'whole']);
  });

  it.each(['206 Partial Content', '416 Range Not Satisfiable'])(
    'that nobody asked for (%s) is an error',
    async (status) => {
      const error = await failure(fetched(answer(status, { 'content-range': 'bytes 5-9/10' }, 'parts')));
      expect(error.code).toBe('source_unreachable');
      expect(error.message).toContain(`it answers ${status.slice(0, 3)}`);
      expect(asked).toEqual(['whole']);
    },
  );

  it('of a file that changes all the time comes to an end', async () => {
    const error = await failure(
      fetched(half, rest(300, OTHER, { etag: '"two"' }), half, rest(300, FILE, { etag: '"x"' })),
    );
    expect(error.code).toBe('source_unreachable');
  });
});

describe('a way elsewhere', () => {
  const to = (location: string) => answer('302 Found', { location, 'content-length': 0 }, '');

  it.each([
    ['in a circle', () => address, 'more than 10 times'],
    ['to a file', () => 'file:///etc/passwd', 'redirects to file:'],
    ['to nowhere', () => 'http://', 'Invalid URL'],
  ])('%s is an error', async (_, location, message) => {
    expect((await failure(fetched(to(location())))).message).toContain(message);
  });
});
