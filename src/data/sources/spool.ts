/** Content that has to be looked at in any order but comes as a stream: kept in a file of no name while it is read. */
import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asFileError } from '../../util/files.ts';
import { DataFile } from './bytes.ts';

/** The content as a file; it is gone when that is closed, or this process ends. */
export async function spool(chunks: AsyncIterable<Buffer>, location: string): Promise<DataFile> {
  const path = join(tmpdir(), `anneal-${randomBytes(12).toString('hex')}.spool`);
  try {
    const handle = await open(path, 'wx', 0o600);
    try {
      for await (const chunk of chunks) await handle.writeFile(chunk);
    } finally {
      await handle.close();
    }
    return await DataFile.open(path, location);
  } catch (error) {
    throw asFileError(error, path);
  } finally {
    await rm(path, { force: true });
  }
}
