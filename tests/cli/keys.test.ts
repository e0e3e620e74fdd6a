/** `anneal keys` on two homes, as on two machines: the client reaches the daemon over tcp:// only while it may. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { anneal } from './process.ts';

const folder = mkdtempSync(join(tmpdir(), 'anneal-keys-'));
const server = join(folder, 'server');
const client = join(folder, 'client');

afterAll(async () => {
  await anneal(['down'], { home: server });
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

/** A free port whose successor is free as well: the daemon takes both. */
async function freePort(): Promise<number> {
  const listen = (port: number) =>
    new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
      const socket = createServer();
      socket.once('error', reject);
      socket.listen(port, '127.0.0.1', () => resolve(socket));
    });
  for (;;) {
    const first = await listen(0);
    const { port } = first.address() as { port: number };
    const second = await listen(port + 1).catch(() => undefined);
    first.close();
    second?.close();
    if (second) return port;
  }
}

test('make, authorise, trust, revoke', { timeout: 60_000 }, async () => {
  const address = `tcp://127.0.0.1:${await freePort()}`;
  const onServer = (...args: string[]) => anneal(args, { home: server, env: { ANNEAL_LISTEN: address } });
  const onClient = (...args: string[]) => anneal(args, { home: client, env: { ANNEAL_ADDRESS: address } });

  expect((await onClient('keys')).stdout).toContain('anneal keys make');
  const { client: key } = JSON.parse((await onClient('keys', 'make', '--json')).stdout);
  expect(statSync(join(client, 'keys')).mode & 0o777).toBe(0o700);
  // Making them again keeps them.
  expect(JSON.parse((await onClient('keys', 'make', '--json')).stdout).client).toBe(key);
  expect((await onServer('keys', 'authorise', key, '--name', 'laptop')).status).toBe(0);
  expect((await onServer('up')).status).toBe(0);
  const keys = JSON.parse((await onServer('keys', '--json')).stdout);
  expect(keys.authorised).toEqual([{ key, name: 'laptop' }]);

  expect((await onClient('status')).status).toBe(4);
  expect((await onClient('keys', 'trust', keys.server)).status).toBe(0);
  const status = await onClient('status', '--json');
  expect(JSON.parse(status.stdout)).toMatchObject({ home: server });

  expect((await onServer('keys', 'revoke', 'laptop')).status).toBe(0);
  const refused = await onClient('status');
  expect(refused.status).toBe(4);
  expect(refused.stderr).toContain('(unauthorized)');
  expect((await onServer('keys', 'revoke', 'laptop')).status).toBe(4);
  expect((await onClient('keys', 'trust', 'no key')).stderr).toContain('40 characters');
  expect((await onClient('keys', 'authorise')).stderr).toContain('needs a public key');
  const nowhere = await anneal(['keys', 'make'], { home: '/proc/anneal' });
  expect(nowhere).toMatchObject({ status: 4, stderr: expect.stringContaining('/proc') });
});
