/** Folders that are made, and those that cannot be. */
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { makeDir } from '../../src/util/files.ts';

const folder = mkdtempSync(join(tmpdir(), 'anneal-files-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('a folder is made with those above it, also several times at once', async () => {
  const path = join(folder, 'a', 'b', 'c');
  await Promise.all([makeDir(path), makeDir(path), makeDir(join(path, 'd'))]);
  await makeDir(path);
  expect(statSync(join(path, 'd')).isDirectory()).toBe(true);
  await makeDir(join(folder, 'secret'), 0o700);
  expect(statSync(join(folder, 'secret')).mode & 0o777).toBe(0o700);
});

it('folders that several make in the same new one come about whatever the order', async () => {
  for (let i = 0; i < 100; i++) {
    const path = join(folder, `race-${i}`);
    await Promise.all(['x/y', 'x/z', 'x/y', 'x'].map((name) => makeDir(join(path, name))));
    expect(existsSync(join(path, 'x', 'z'))).toBe(true);
  }
});

it('a folder below a file is an error', async () => {
  writeFileSync(join(folder, 'file'), '');
  for (const name of ['file', 'file/below'])
    await expect(makeDir(join(folder, name))).rejects.toMatchObject({ code: 'file_unreadable' });
});

it.runIf(existsSync('/proc/self'))('a folder of a file system that takes none is an error', async () => {
  await expect(makeDir('/proc/anneal/merged')).rejects.toMatchObject({
    code: 'file_unreadable',
    message: '/proc/anneal cannot be made: /proc takes no folders.',
  });
});
