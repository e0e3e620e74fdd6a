/** Memory of data work: what is used again, and what is given back when its last use is known. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openTokenDataset } from '../../src/data/dataset.ts';
import { DataFile } from '../../src/data/sources/bytes.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { release } from '../../src/native/memory.ts';
import { documentOf, TextBatchBuilder, textBatch } from '../../src/native/text_batch.ts';
import { prepareStage } from '../../src/stages/prepare.ts';
import { tokenizerStage } from '../../src/stages/tokenizer.ts';
import { contents, writerInto } from './source_records.ts';
import { generatedText, runStage, temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const write = writerInto(folder.path);

describe('what native calls give', () => {
  const documents = 1 << 16;
  const batch = textBatch(Array.from({ length: documents }, (_, i) => `text ${i}`));
  const fingerprinter = loadAddon().createFingerprinter({ threads: 1 });

  it('is freed when it is released, collector or not', async () => {
    const before = process.memoryUsage().external;
    for (let round = 0; round < 100; round++) {
      const { exact } = await fingerprinter.run(batch);
      expect(exact.length).toBe(2 * documents);
      release(exact);
      expect(exact.length).toBe(0);
    }
    // 100 MiB were handed over.
    expect(process.memoryUsage().external - before).toBeLessThan(20 << 20);
  });
});

describe('a batch of texts', () => {
  it('is the same of strings and of their bytes', () => {
    const texts = ['', 'plain', 'é', '東京 🙂', 'half \ud83d of a pair', 'x'.repeat(3 << 20), '\ud83d'];
    const builder = new TextBatchBuilder();
    for (const round of [0, 1]) {
      for (const text of texts) builder.add(text);
      const batch = builder.take();
      expect(batch.ends.length, `round ${round}`).toBe(texts.length);
      for (const [i, text] of texts.entries()) {
        expect(Buffer.from(text).equals(documentOf(batch, i))).toBe(true);
      }
    }
  });
});

describe('chunks of a file', () => {
  const content = Buffer.from(Array.from({ length: 200_000 }, (_, i) => `${i} `).join(''));
  const path = write('content.bin', content);

  async function chunksOf(passing: boolean): Promise<{ bytes: Buffer; memories: number; chunks: number }> {
    const file = await DataFile.open(path, path);
    const memories = new Set<ArrayBufferLike>();
    const pieces: Buffer[] = [];
    for await (const chunk of file.chunks(7, content.length - 9, passing)) {
      memories.add(chunk.buffer);
      pieces.push(Buffer.from(chunk));
    }
    await file.close();
    return { bytes: Buffer.concat(pieces), memories: memories.size, chunks: pieces.length };
  }

  it('are memory of their own, or two memories in turn', async () => {
    const kept = await chunksOf(false);
    const passing = await chunksOf(true);
    const expected = content.subarray(7, content.length - 9);
    expect(kept.bytes.equals(expected)).toBe(true);
    expect(passing.bytes.equals(expected)).toBe(true);
    expect(kept.chunks).toBeGreaterThan(4);
    expect(kept.memories).toBe(kept.chunks);
    expect(passing.memories).toBe(2);
  });

  it('may end anywhere in the rows of JSONL, which may be longer than a chunk', async () => {
    const rows = Array.from({ length: 3_000 }, (_, i) => ({
      id: i,
      text: `${i}é`.repeat(i % 1000 === 500 ? 200_000 : 1 + ((i * 37) % 200)),
    }));
    const path = write('rows.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    expect(await contents(path)).toEqual(rows);
    expect(await contents(path, {}, { unitBytes: 300_000 })).toEqual(rows);
  });
});

it('a dataset may be larger than the blocks that are copied, and reads back', async () => {
  const texts = Array.from({ length: 2_000 }, (_, i) => generatedText(i + 1, 300));
  write('large.jsonl', texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  const options = (name: string) => {
    const outDir = join(folder.path, name);
    mkdirSync(outDir);
    return { outDir, baseDir: folder.path };
  };
  const tokenizer = options('tokenizer');
  await runStage(tokenizerStage, { files: ['large.jsonl'], vocab_size: 300 }, tokenizer);
  const made = options('dataset');
  await runStage(
    prepareStage,
    { files: ['large.jsonl'], validation_fraction: 0 },
    { ...made, inputs: { tokenizer: tokenizer.outDir } },
  );
  const dataset = openTokenDataset(made.outDir, 'train');
  expect(dataset.numDocuments).toBe(texts.length);
  expect(2 * dataset.numTokens).toBeGreaterThan(2 << 20);
  dataset.close();
});
