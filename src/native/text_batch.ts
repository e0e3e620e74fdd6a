/**
 * Many documents in one piece of memory: what every native data call (cleaning, fingerprints, encoding) takes and
 * gives, so that no call makes an object a document.
 */

/**
 * Documents end to end in UTF-8. Native calls that return a promise read them where they lie, until it is settled:
 * before, they are neither changed nor released. Calls that only take texts in (a trainer's `feed`, a contamination's
 * `add`) copy them before they return.
 */
export interface TextBatch {
  bytes: Uint8Array;
  /** Exclusive end of each document in `bytes`; doubles, as a batch may be larger than 4 GiB. */
  ends: Float64Array;
}

const FIRST_BYTES = 1 << 20;
const FIRST_DOCUMENTS = 1 << 10;

/** Gathers documents; its memory grows to the largest batch and is then used again and again. */
export class TextBatchBuilder {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #ends = new Float64Array(FIRST_DOCUMENTS);
  /** Documents that were added. */
  length = 0;
  byteLength = 0;

  /** Copies a document in; lone surrogates of a string become U+FFFD. */
  add(text: Uint8Array | string): void {
    const from = this.byteLength;
    const end = from + (typeof text === 'string' ? Buffer.byteLength(text) : text.length);
    if (end > this.#bytes.length) this.#bytes = grown(this.#bytes, Buffer.allocUnsafeSlow(2 * end));
    if (this.length === this.#ends.length) this.#ends = grown(this.#ends, new Float64Array(2 * this.length));
    if (typeof text === 'string') this.#bytes.write(text, from);
    else this.#bytes.set(text, from);
    this.#ends[this.length++] = this.byteLength = end;
  }

  /** The batch so far, in memory that the next documents will be written to; the builder is empty then. */
  take(): TextBatch {
    const batch = {
      bytes: this.#bytes.subarray(0, this.byteLength),
      ends: this.#ends.subarray(0, this.length),
    };
    this.length = 0;
    this.byteLength = 0;
    return batch;
  }
}

/** A batch of a few documents. */
export function textBatch(documents: Iterable<Uint8Array | string>): TextBatch {
  const builder = new TextBatchBuilder();
  for (const document of documents) builder.add(document);
  return builder.take();
}

/** Document `i` of a batch; a view. */
export function documentOf(batch: TextBatch, i: number): Uint8Array {
  return batch.bytes.subarray(i === 0 ? 0 : batch.ends[i - 1], batch.ends[i]);
}

function grown<T extends Uint8Array | Float64Array>(from: T, to: T): T {
  to.set(from as never);
  return to;
}
