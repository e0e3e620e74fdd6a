/**
 * A sample of each source's documents, of bounded size and spread evenly over all of them: what tokenizers are
 * compared on. It depends on the documents and their order alone.
 */
import type { TextBatch } from '../native/text_batch.ts';
import { textBatch } from '../native/text_batch.ts';
import type { Tokenizer } from './tokenizer.ts';

/** Bytes of a source's sample, and of one document in it. */
const MAX_BYTES = 1 << 20;
const MAX_DOCUMENT_BYTES = 1 << 14;

/** Takes every n-th document; n doubles, and half of the sample goes, when it is full. */
export class Sample {
  #documents: Buffer[] = [];
  #bytes = 0;
  #stride = 1;
  #seen = 0;

  add(document: Uint8Array): void {
    if (this.#seen++ % this.#stride !== 0) return;
    // A copy: what was read lies in large pieces that a small view would keep.
    const kept = Buffer.from(beginning(document, MAX_DOCUMENT_BYTES));
    this.#documents.push(kept);
    this.#bytes += kept.length;
    while (this.#bytes > MAX_BYTES) {
      this.#documents = this.#documents.filter((_, i) => i % 2 === 0);
      this.#bytes = this.#documents.reduce((sum, { length }) => sum + length, 0);
      this.#stride *= 2;
    }
  }

  get documents(): readonly Buffer[] {
    return this.#documents;
  }

  batch(): TextBatch {
    return textBatch(this.#documents);
  }
}

/** Bytes of text that a token stands for on average. */
export async function bytesPerToken(tokenizer: Tokenizer, sample: Sample): Promise<number> {
  const batch = sample.batch();
  const { ids } = await tokenizer.encodeBatch(batch);
  return batch.bytes.length / Math.max(1, ids.length);
}

/** The first `most` bytes, less the beginning of a character that would be cut in two. */
function beginning(document: Uint8Array, most: number): Uint8Array {
  if (document.length <= most) return document;
  let end = most;
  while (end > most - 4 && (document[end]! & 0xc0) === 0x80) end--;
  return document.subarray(0, end);
}
