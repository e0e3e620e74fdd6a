/** How much content a stored file is likely to have, without reading all of it. */
import { DataFile } from './bytes.ts';
import { compressionOf, decompress } from './compression.ts';
import { sourceSettings } from './settings.ts';

/** Of a compressed file this much is decompressed. */
const SAMPLE_BYTES = 1 << 20;

/** Bytes of a file's content. Of a compressed one an estimate: as much as its beginning promises. */
export async function contentSize(path: string): Promise<number> {
  const { head, size } = await beginning(path);
  const compression = compressionOf(head);
  if (compression === 'none') return size;
  const { max_expansion } = sourceSettings.parse({});
  let content = 0;
  try {
    for await (const piece of decompress(one(head), compression, path, max_expansion))
      content += piece.length;
  } catch {
    // The sample ends in the middle of the stream: what came until there counts. Damage is told by who reads the file.
  }
  return Math.round((content * size) / head.length);
}

async function beginning(path: string): Promise<{ head: Buffer; size: number }> {
  const file = await DataFile.open(path, path);
  try {
    return { head: await file.read(0, Math.min(file.size, SAMPLE_BYTES)), size: file.size };
  } finally {
    await file.close();
  }
}

async function* one(chunk: Buffer): AsyncGenerator<Buffer> {
  yield chunk;
}
