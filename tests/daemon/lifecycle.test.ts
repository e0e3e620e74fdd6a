/** Start and end of the daemon: lock, sockets, home, signals, systemd. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { homeLayout } from '../../proto/home.ts';
import { connect } from '../../src/client/client.ts';
import { Store } from '../../src/daemon/store.ts';
import { atEnd, startDaemon, TestDaemon, temporaryFolder, until } from './harness.ts';

async function failsWith(daemon: TestDaemon, code: string): Promise<void> {
  expect(await daemon.exit).toEqual({ code: 1, signal: null });
  expect(daemon.stderr).toContain(`[${code}]`);
}

describe('one daemon per home', () => {
  it('refuses a second one, and is not disturbed by it', async () => {
    const first = await startDaemon();
    const second = new TestDaemon({ home: first.home });
    await failsWith(second, 'daemon_already_running');
    expect(second.stderr).toContain(String(first.child.pid));
    expect((await (await first.client()).call('status', {})).pid).toBe(first.child.pid);
  });

  it('starts after one that was killed, whatever that left behind', async () => {
    const first = await startDaemon();
    await first.kill('SIGKILL');
    const { lock, commandSocket } = homeLayout(first.home);
    expect(existsSync(lock) && existsSync(commandSocket)).toBe(true);
    const second = await startDaemon({ home: first.home });
    expect((await (await second.client()).call('status', {})).pid).toBe(second.child.pid);
  });

  it('does not take a socket that another program listens on', async () => {
    const home = temporaryFolder();
    const { commandSocket } = homeLayout(home);
    const server = createServer().listen(commandSocket);
    atEnd(() => server.close());
    await until(() => existsSync(commandSocket));
    await failsWith(new TestDaemon({ home }), 'socket_in_use');
    expect(server.listening).toBe(true);
  });

  it('does not overwrite a file at the place of its socket', async () => {
    const home = temporaryFolder();
    writeFileSync(homeLayout(home).commandSocket, 'mine');
    await failsWith(new TestDaemon({ home }), 'socket_in_use');
    expect(readFileSync(homeLayout(home).commandSocket, 'utf8')).toBe('mine');
  });

  it('does not take a TCP port that is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    atEnd(() => server.close());
    await until(() => server.listening);
    const { port } = server.address() as { port: number };
    await failsWith(new TestDaemon({ args: ['--listen', `tcp://127.0.0.1:${port}`] }), 'socket_in_use');
  });

  it('says that a home cannot be used', async () => {
    await failsWith(new TestDaemon({ home: join(temporaryFolder(), 'long'.repeat(30)) }), 'home_unusable');
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    const inFile = new TestDaemon({ env: { ANNEAL_HOME: join(file, 'home') } });
    await failsWith(inFile, 'home_unusable');
  });

  it('does not touch a store of another version', async () => {
    const home = temporaryFolder();
    const path = homeLayout(home).database;
    new Store(path, () => {}).close();
    const { DatabaseSync } = await import('node:sqlite');
    const database = new DatabaseSync(path);
    database.exec('PRAGMA user_version = 99');
    database.close();
    const daemon = new TestDaemon({ home });
    expect((await daemon.exit).code).toBe(1);
    expect(daemon.stderr).toContain('schema 99');
  });
});

it('keeps its home and sockets to this user', async () => {
  const daemon = await startDaemon({ home: join(temporaryFolder(), 'home') });
  const { home, commandSocket, eventSocket, database } = homeLayout(daemon.home);
  const mode = (path: string) => statSync(path).mode & 0o777;
  expect([home, commandSocket, eventSocket, database].map(mode)).toEqual([0o700, 0o600, 0o600, 0o600]);
});

it('goes down on SIGTERM and on the command, and says then that nobody is there', async () => {
  const first = await startDaemon();
  expect(await first.kill('SIGTERM')).toEqual({ code: 0, signal: null });
  const second = await startDaemon({ home: first.home });
  const client = await second.client();
  await client.call('shutdown', {});
  expect(await second.exit).toEqual({ code: 0, signal: null });
  await expect(connect({ home: first.home })).rejects.toMatchObject({
    code: 'daemon_not_running',
    hint: 'Start it: anneal up',
  });
});

it('rotates its log', async () => {
  const home = temporaryFolder();
  const { logs } = homeLayout(home);
  mkdirSync(logs);
  writeFileSync(join(logs, 'anneald.log'), 'x'.repeat(9 * 1024 * 1024));
  const daemon = await startDaemon({ home });
  expect(statSync(join(logs, 'anneald.log.1')).size).toBe(9 * 1024 * 1024);
  for (const line of daemon.log().trim().split('\n')) expect(JSON.parse(line)).toHaveProperty('msg');
});

const canNotify = spawnSync('systemd-notify', ['--version']).status === 0;

it.skipIf(!canNotify)('tells systemd that it is ready, alive and stopping', async () => {
  const folder = temporaryFolder();
  const address = join(folder, 'notify');
  // Node has no Unix datagram sockets; perl is part of every Debian.
  const listener = spawn('perl', ['-e', LISTENER, address], { stdio: ['ignore', 'pipe', 'inherit'] });
  atEnd(() => listener.kill());
  let heard = '';
  listener.stdout.on('data', (text) => (heard += text));
  await until(() => existsSync(address));
  const daemon = new TestDaemon({ env: { NOTIFY_SOCKET: address, WATCHDOG_USEC: '400000' } });
  await until(() => heard.includes('READY=1'));
  // Usable at the very moment at which it says so.
  expect((await (await daemon.client()).call('status', {})).pid).toBe(daemon.child.pid);
  expect(heard).toContain(`MAINPID=${daemon.child.pid}`);
  await until(() => heard.split('WATCHDOG=1').length > 4);
  await daemon.kill('SIGTERM');
  await until(() => heard.includes('STOPPING=1'));
});

const LISTENER = `use Socket; socket(my $s, AF_UNIX, SOCK_DGRAM, 0); bind($s, sockaddr_un($ARGV[0])) or die $!;
  $| = 1; while (defined(recv($s, my $m, 4096, 0))) { print "$m\\n" }`;
