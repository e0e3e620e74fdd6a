/** How much content a stored file is likely to have, without reading all of it. */
import { open } from 'node:fs/promises';
import { asFileError } from '../../util/files.ts';
import { compressionOf, decompress } from './compression.ts';

/** Of a compressed file this much is decompressed. */
const SAMPLE_BYTES = 1 << 20;
/** Of a sample that expands further, this is believed. */
const MAX_EXPANSION = 250;

/** Bytes of a file's content. Of a compressed one an estimate: as much as its beginning promises. */
export async function contentSize(path: string): Promise<number> {
  const { head, size } = await beginning(path);
  const compression = compressionOf(head);
  if (compression === 'none') return size;
  let content = 0;
  try {
    for await (const piece of decompress(one(head), compression, path, MAX_EXPANSION))
      content += piece.length;
  } catch {
    // The sample ends in the middle of the stream: what came until there counts. Damage is told by who reads the file.
  }
  return Math.round((content * size) / head.length);
}

async function beginning(path: string): Promise<{ head: Buffer; size: number }> {
  try {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      const { bytesRead, buffer } = await file.read(Buffer.alloc(Math.min(size, SAMPLE_BYTES)));
      return { head: buffer.subarray(0, bytesRead), size };
    } finally {
      await file.close();
    }
  } catch (error) {
    throw asFileError(error, path);
  }
}

async function* one(chunk: Buffer): AsyncGenerator<Buffer> {
  yield chunk;
}
