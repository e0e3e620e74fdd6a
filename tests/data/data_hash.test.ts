import { renameSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, expect, it } from 'vitest';
import { dataHash } from '../../src/data/data_hash.ts';
import { sha256 } from '../../src/util/hash.ts';
import { failure } from './source_records.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const path = join(folder.path, 'data.txt');

it.each([0, 2100])(
  'is that of the content as it is, whatever the file says of its times, after %i ms',
  async (ms) => {
    writeFileSync(path, 'one');
    // Long enough ago, and it is remembered.
    await delay(ms);
    const { atime, mtime } = statSync(path);
    expect(await dataHash(path)).toBe(sha256('one'));
    writeFileSync(path, 'two');
    utimesSync(path, atime, mtime);
    expect(await dataHash(path)).toBe(sha256('two'));
    writeFileSync(`${path}.new`, 'six');
    utimesSync(`${path}.new`, atime, mtime);
    renameSync(`${path}.new`, path);
    expect(await dataHash(path)).toBe(sha256('six'));
    expect(await dataHash(path)).toBe(sha256('six'));
  },
);

it('of what is missing, or no file, is an error that names it', async () => {
  expect(await failure(dataHash(join(folder.path, 'none')))).toMatchObject({ code: 'file_not_found' });
  expect(await failure(dataHash(folder.path))).toMatchObject({ code: 'file_unreadable', path: folder.path });
});
