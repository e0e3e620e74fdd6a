/** tcp:// with CURVE: strangers get nothing, and cannot keep others out. */
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { connect as connectRaw, createServer, type Socket as RawSocket } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { curveKeyPair, Dealer, Subscriber } from 'zeromq';
import { homeLayout } from '../../proto/home.ts';
import { isKey, z85Encode } from '../../proto/keys.ts';
import { encodeRequest } from '../../proto/wire.ts';
import { type ClientKeys, connect } from '../../src/client/client.ts';
import {
  authorize,
  ensureKeyPair,
  keyFiles,
  listAuthorized,
  readPublicKey,
  revoke,
} from '../../src/client/keys.ts';
import {
  atEnd,
  eventsUntil,
  isState,
  startDaemon,
  type TestDaemon,
  temporaryFolder,
  tinyRecipe,
  until,
} from './harness.ts';

/** Two ports in a row that are free now. */
async function freePorts(): Promise<number> {
  for (;;) {
    const first = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => first.once('listening', resolve));
    const { port } = first.address() as { port: number };
    const second = createServer();
    const free = await new Promise<boolean>((resolve) => {
      second.once('error', () => resolve(false));
      second.listen(port + 1, '127.0.0.1', () => resolve(true));
    });
    await Promise.all([first, second].map((server) => new Promise((resolve) => server.close(resolve))));
    if (free) return port;
  }
}

interface Remote {
  daemon: TestDaemon;
  address: string;
  events: string;
  serverKey: string;
  keys: string;
}

async function startRemote(): Promise<Remote> {
  const port = await freePorts();
  const address = `tcp://127.0.0.1:${port}`;
  const daemon = await startDaemon({ args: ['--listen', address] });
  const { keys } = homeLayout(daemon.home);
  const serverKey = await readPublicKey(keyFiles(keys).serverPublic);
  return { daemon, address, events: `tcp://127.0.0.1:${port + 1}`, serverKey, keys };
}

function newKeys(serverKey: string): ClientKeys {
  return { ...curveKeyPair(), serverKey };
}

/** Whether a raw socket with these options gets any answer, or any event, within a while. */
async function hears(remote: Remote, keys: Partial<ClientKeys>): Promise<boolean> {
  const options = {
    linger: 0,
    receiveTimeout: 1_500,
    ...(keys.publicKey && {
      curvePublicKey: keys.publicKey,
      curveSecretKey: keys.secretKey!,
      curveServerKey: keys.serverKey!,
    }),
  };
  const commands = new Dealer({ ...options, sendTimeout: 1_500 });
  const events = new Subscriber(options);
  try {
    commands.connect(remote.address);
    events.connect(remote.events);
    events.subscribe();
    const sending = commands.send(encodeRequest('r', { command: 'hello' })).catch(() => {});
    const heard = await Promise.all(
      [commands, events].map((socket) =>
        socket.receive().then(
          () => true,
          () => false,
        ),
      ),
    );
    await sending;
    return heard.includes(true);
  } finally {
    commands.close();
    events.close();
  }
}

it('keys are 40 characters of Z85, in files for this user only', async () => {
  expect(z85Encode(Buffer.from('864fd26fb559f75b', 'hex'))).toBe('HelloWorld');
  const folder = join(temporaryFolder(), 'keys');
  mkdirSync(folder);
  const files = keyFiles(folder);
  const pair = await ensureKeyPair(files.client, 'client');
  expect(await ensureKeyPair(files.client, 'client')).toEqual(pair);
  expect(isKey(pair.publicKey) && isKey(pair.secretKey)).toBe(true);
  await authorize(folder, pair.publicKey, 'my laptop');
  await authorize(folder, curveKeyPair().publicKey, 'other');
  await authorize(folder, pair.publicKey, 'my desk');
  expect((await listAuthorized(folder)).map(({ name }) => name)).toEqual(['other', 'my desk']);
  expect([await revoke(folder, 'other'), await revoke(folder, 'other')]).toEqual([true, false]);
  for (const path of [files.client, files.authorized]) expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readFileSync(files.authorized, 'utf8')).not.toContain(pair.secretKey);
  await expect(authorize(folder, 'short', 'x')).rejects.toMatchObject({ code: 'unauthorized' });
});

it('a client with its key authorised works as on the machine itself; revoked, it is out', async () => {
  const { address, serverKey, keys } = await startRemote();
  const client = newKeys(serverKey);
  await authorize(keys, client.publicKey, 'laptop');
  const remote = await connect({ address, keys: client });
  atEnd(() => remote.close());
  const { job } = await remote.call('job.submit', tinyRecipe(temporaryFolder(), { steps: 5 }));
  const events = await eventsUntil(remote, job.id, isState('succeeded'));
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_event, index) => index + 1));
  await revoke(keys, 'laptop');
  await expect(connect({ address, keys: client })).rejects.toMatchObject({ code: 'unauthorized' });
});

it('a client without a key, with an unknown key, or with another server in mind gets nothing', async () => {
  const remote = await startRemote();
  const known = newKeys(remote.serverKey);
  await authorize(remote.keys, known.publicKey, 'known');
  const unknown = newKeys(remote.serverKey);
  const wrongServer = { ...known, serverKey: curveKeyPair().publicKey };
  // The public key of a client is no secret; its secret key is.
  const thief = { ...known, secretKey: curveKeyPair().secretKey };
  for (const keys of [{}, unknown, wrongServer, thief]) expect(await hears(remote, keys)).toBe(false);
  expect(await hears(remote, known)).toBe(true);
  await expect(connect({ address: remote.address, keys: unknown })).rejects.toMatchObject({
    code: 'unauthorized',
    hint: expect.stringContaining('anneal keys'),
  });
  expect(remote.daemon.log()).toContain('without a known key');
});

it('1,000 raw sockets held open do not keep a rightful client out', async () => {
  const { daemon, address, serverKey, keys } = await startRemote();
  const client = newKeys(serverKey);
  await authorize(keys, client.publicKey, 'laptop');
  const port = Number(address.split(':')[2]);
  const crowd: RawSocket[] = [];
  atEnd(() => crowd.map((socket) => socket.destroy()));
  let open = 0;
  for (let i = 0; i < 1_000; i++) {
    const socket = connectRaw(port, '127.0.0.1', () => (open += 1));
    socket.on('error', () => {});
    // A third says nothing, a third begins to greet, a third talks nonsense.
    if (i % 3 === 1) socket.write(Buffer.from('ff00000000000000017f', 'hex'));
    if (i % 3 === 2) socket.write('GET / HTTP/1.1\r\n\r\n');
    crowd.push(socket);
  }
  await until(() => open === 1_000);
  const remote = await connect({ address, keys: client });
  atEnd(() => remote.close());
  expect((await remote.call('status', {})).pid).toBe(daemon.child.pid);
  expect((await (await daemon.client()).call('status', {})).pid).toBe(daemon.child.pid);
});
