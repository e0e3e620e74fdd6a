/** What duplicates are known by; the meaning of each number stands in native/data/fingerprint.h. */
import type { TextBatch } from './text_batch.ts';

export interface NearOptions {
  unit: 'word' | 'character';
  /** Words or characters of a shingle. */
  shingle: number;
  /** The signature has bands times rows least hashes; a band is a key. */
  bands: number;
  rows: number;
  /** Of the permutations. */
  seed: number;
}

export interface Fingerprints {
  /** Two numbers a document: a 128-bit hash of its text, white space collapsed. */
  exact: BigUint64Array;
  /** `bands` keys a document; documents that share one are near-duplicate candidates. Empty without `near`. */
  bands: BigUint64Array;
}

export interface Fingerprinter {
  /** Off the event loop; in the order of the documents, the same whatever the threads. */
  run(batch: TextBatch): Promise<Fingerprints>;
  /** The MinHash signatures, bands * rows numbers a document; needs `near`. */
  signatures(batch: TextBatch): Promise<Uint32Array>;
}
