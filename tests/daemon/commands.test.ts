/** The command socket of a real daemon: handshake, bad requests, garbage. */
import { connect as connectRaw } from 'node:net';
import { describe, expect, it } from 'vitest';
import { Dealer, Request } from 'zeromq';
import { COMMANDS } from '../../proto/commands.ts';
import { homeLayout } from '../../proto/home.ts';
import { PROTOCOL_VERSION } from '../../proto/version.ts';
import { decodeBody, encodeBody, encodeRequest, MAX_MESSAGE_BYTES } from '../../proto/wire.ts';
import type { Client } from '../../src/client/client.ts';
import { atEnd, startDaemon, type TestDaemon, until } from './harness.ts';

function dealer(daemon: TestDaemon): Dealer {
  const socket = new Dealer({ linger: 0, receiveTimeout: 20_000 });
  socket.connect(`ipc://${homeLayout(daemon.home).commandSocket}`);
  atEnd(() => socket.close());
  return socket;
}

async function ask(socket: Dealer, frames: (string | Buffer)[]): Promise<Record<string, unknown>> {
  await socket.send(frames);
  const reply = await socket.receive();
  expect(reply.length).toBe(3);
  return decodeBody(reply[2]!);
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'no error',
    ({ code, hint, path }) => ({ code, hint, path }),
  );
}

/** A call that the types would not let through. */
function rawCall(client: Client, command: string, input: object): Promise<unknown> {
  return (client.call as (command: string, input: object) => Promise<unknown>).call(client, command, input);
}

describe('handshake', () => {
  it('is answered whatever the version; all else says which side to upgrade', async () => {
    const daemon = await startDaemon();
    const socket = dealer(daemon);
    for (const version of ['0', '1', '999']) {
      const hello = await ask(socket, [version, 'r', encodeBody({ command: 'hello' })]);
      expect(hello).toMatchObject({ ok: true, protocol: PROTOCOL_VERSION, pid: daemon.child.pid });
    }
    const older = await ask(socket, ['0', 'r', encodeBody({ command: 'status' })]);
    expect(older).toMatchObject({
      ok: false,
      error: { code: 'version_mismatch', hint: expect.stringContaining('upgrade the client') },
    });
    const newer = await ask(socket, ['999', 'r', encodeBody({ command: 'status' })]);
    expect(newer).toMatchObject({
      ok: false,
      error: { code: 'version_mismatch', hint: expect.stringContaining('daemon is older') },
    });
  });
});

describe('bad requests', () => {
  it('name the field, and the nearest known one', async () => {
    const daemon = await startDaemon();
    const client = await daemon.client();
    expect(await errorOf(rawCall(client, 'job.list', { limt: 3 }))).toEqual({
      code: 'bad_request',
      hint: "Did you mean 'limit'?",
      path: 'limt',
    });
    expect(
      await errorOf(
        rawCall(client, 'model.generate', { model: 'm', prompt: 'p', sampling: { temprature: 1 } }),
      ),
    ).toEqual({
      code: 'bad_request',
      hint: "Did you mean 'temperature'?",
      path: 'sampling.temprature',
    });
    expect(
      await errorOf(
        rawCall(client, 'job.submit', { recipe: '', base_dir: '/', set: [{ key: 'a', valu: 'b' }] }),
      ),
    ).toEqual({
      code: 'bad_request',
      hint: "Did you mean 'value'?",
      path: 'set.0.valu',
    });
    expect(await errorOf(rawCall(client, 'job.list', { limit: 'many' }))).toMatchObject({
      code: 'bad_request',
      path: 'limit',
    });
    expect(await errorOf(rawCall(client, 'job.get', {}))).toMatchObject({ code: 'bad_request', path: 'job' });
    expect(await errorOf(rawCall(client, 'job.lst', {}))).toMatchObject({
      code: 'unknown_command',
      hint: "Did you mean 'job.list'?",
    });
    expect(await errorOf(rawCall(client, 'toString', {}))).toMatchObject({ code: 'unknown_command' });
    expect(await errorOf(client.call('job.get', { job: 'j99' }))).toMatchObject({ code: 'job_not_found' });
    expect(await errorOf(client.call('model.generate', { model: 'nowhere', prompt: 'x' }))).toMatchObject({
      code: 'model_not_found',
    });
    expect(await errorOf(client.call('model.generate', { model: 'nowhere' }))).toMatchObject({
      code: 'bad_request',
      path: 'prompt',
    });
  });
});

it('a value of any type in any field gets a typed error that is not `internal`', async () => {
  const client = await (await startDaemon()).client();
  const values = [
    null,
    true,
    -1,
    0,
    1.5,
    1e300,
    Number.NaN,
    '',
    'x'.repeat(10_000),
    '../../etc',
    [],
    [null],
    {},
    { a: {} },
  ];
  const valid = { 'model.generate': { model: 'm', prompt: 'p' } } as Record<string, object>;
  for (const command of [
    'hello',
    'status',
    'job.list',
    'job.get',
    'job.pause',
    'job.events',
    'model.generate',
  ] as const) {
    const fields = Object.keys(COMMANDS[command].request.shape);
    for (const field of [...fields, 'command', 'constructor', '']) {
      for (const value of values) {
        const outcome = await errorOf(rawCall(client, command, { ...valid[command], [field]: value }));
        expect(outcome, `${command} ${field} ${JSON.stringify(value)}`).not.toMatchObject({
          code: 'internal',
        });
      }
    }
  }
});

describe('garbage', () => {
  it('on the ZeroMQ level gets a typed error', async () => {
    const daemon = await startDaemon();
    const socket = dealer(daemon);
    const status = encodeBody({ command: 'status' });
    const cases: (string | Buffer)[][] = [
      ['x'],
      ['', ''],
      ['1', 'r'],
      ['1', 'r', status, 'more'],
      ['one', 'r', status],
      ['1', '', status],
      ['1', 'r'.repeat(65), status],
      ['1', 'r', 'not MessagePack \xff'],
      ['1', 'r', ''],
      ['1', 'r', status.subarray(0, 4)],
    ];
    for (const frames of cases) {
      expect(await ask(socket, frames)).toMatchObject({
        ok: false,
        error: { code: 'bad_frame', hint: expect.any(String) },
      });
    }
    for (const body of [{}, { command: 7 }, { command: null }]) {
      const reply = await ask(socket, ['1', 'r', encodeBody(body)]);
      expect(reply).toMatchObject({ ok: false, error: { code: 'bad_request', path: 'command' } });
    }
    expect(await ask(socket, ['1', 'r', status])).toMatchObject({ ok: true });
  });

  it('from a REQ socket, which adds a frame, does no harm', async () => {
    const daemon = await startDaemon();
    const socket = new Request({ linger: 0, receiveTimeout: 20_000 });
    atEnd(() => socket.close());
    socket.connect(`ipc://${homeLayout(daemon.home).commandSocket}`);
    await socket.send(['1', 'r', encodeBody({ command: 'status' })]);
    // Its reply lacks the empty frame that a REQ socket waits for, so nothing comes; the daemon is none the worse.
    const client = await daemon.client();
    expect((await client.call('status', {})).pid).toBe(daemon.child.pid);
  });

  it('in bulk, from the raw socket up, changes nothing', async () => {
    const daemon = await startDaemon();
    const { commandSocket } = homeLayout(daemon.home);
    let state = 1;
    const random = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    const noise = (length: number) => Buffer.from(Array.from({ length }, () => random(256)));
    // Below ZeroMQ: noise, halves of its greeting, a greeting and then noise.
    const greeting = Buffer.concat([
      Buffer.from('ff00000000000000017f0300', 'hex'),
      Buffer.from('NULL'),
      Buffer.alloc(48),
    ]);
    for (let i = 0; i < 200; i++) {
      const raw = connectRaw(commandSocket);
      raw.on('error', () => {});
      raw.write(
        i % 3 === 0
          ? noise(random(300))
          : i % 3 === 1
            ? greeting.subarray(0, random(64))
            : Buffer.concat([greeting, noise(random(300))]),
      );
      if (i % 2) raw.end();
      else atEnd(() => raw.destroy());
    }
    // On ZeroMQ: any number of frames of anything.
    const socket = dealer(daemon);
    let sent = 0;
    for (let i = 0; i < 2_000; i++) {
      await socket.send(Array.from({ length: 1 + random(5) }, () => noise(random(80))));
      sent += 1;
    }
    for (; sent > 0; sent--) expect(decodeBody((await socket.receive())[2]!)).toMatchObject({ ok: false });
    const client = await daemon.client();
    const { jobs, pid } = await client.call('status', {});
    expect({ jobs, pid }).toEqual({ jobs: {}, pid: daemon.child.pid });
  });

  it('of 100 MB is dropped with its connection, without being read', async () => {
    const daemon = await startDaemon();
    const client = await daemon.client();
    const before = (await client.call('status', {})).memory_bytes;
    const socket = dealer(daemon);
    await socket.send(encodeRequest('big', { command: 'job.submit', recipe: 'x'.repeat(100 * 1024 * 1024) }));
    const bounded = dealer(daemon);
    const almost = encodeRequest('r', { command: 'job.get', job: 'x'.repeat(MAX_MESSAGE_BYTES - 1_000) });
    expect(await ask(bounded, almost)).toMatchObject({ ok: false, error: { code: 'job_not_found' } });
    // The daemon goes on, for others and for the same client.
    expect(await ask(socket, encodeRequest('small', { command: 'hello' }))).toMatchObject({ ok: true });
    await until(async () => (await client.call('status', {})).memory_bytes < before + 90 * 1024 * 1024);
    expect(await errorOf(client.call('job.get', { job: 'x'.repeat(MAX_MESSAGE_BYTES) }))).toMatchObject({
      code: 'message_too_large',
    });
  });
});
