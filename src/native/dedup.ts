/**
 * Deduplication: what duplicates are known by, and how they are found; repeated lines and paragraphs; overlap with
 * evaluation sets. The meaning of each number stands in native/data (fingerprint.h, duplicates.h, repeated_parts.h,
 * contamination.h). Documents are numbered from 0; everything is the same whatever the threads, the memory and the
 * borders of batches.
 */
import type { TextBatch } from './text_batch.ts';

export interface NearOptions {
  unit: 'word' | 'character';
  /** Words or characters of a shingle. */
  shingle: number;
  /** The signature has as many least hashes; a band is a key of `rows` of them, from the first on. */
  permutations: number;
  bands: number;
  rows: number;
  /** Of the permutations. */
  seed: number;
  /** Permutations and hashes of shingles: ours, datasketch's from its 2.0 on, or those it had before. */
  scheme: 'multiplicative' | 'datasketch' | 'datasketch_legacy';
  /** Gives the signatures themselves as well, to verify candidates by. */
  signatures?: boolean;
}

export interface Fingerprints {
  /** Two numbers a document: a 128-bit hash of its text, white space collapsed. */
  exact: BigUint64Array;
  /** `bands` keys a document; documents that share one are near-duplicate candidates. Empty without `near`. */
  bands: BigUint64Array;
  /** The MinHash signatures, `permutations` numbers a document. Empty unless `near.signatures`. */
  signatures: Uint32Array;
}

export interface Fingerprinter {
  /** Off the event loop; in the order of the documents. */
  run(batch: TextBatch): Promise<Fingerprints>;
}

/** Files of fingerprints of successive documents, as `Fingerprinter` gave them, without a head. */
export interface FingerprintFiles {
  exact: string;
  /** Needed with `near`. */
  bands?: string;
  /** Needed with `near.verify`. */
  signatures?: string;
  documents: number;
  /** Only documents of the same group are compared: 0 everywhere, or the number of the source. */
  group: number;
}

export interface DuplicateOptions {
  /** In global order: documents are numbered through all of them. */
  files: FingerprintFiles[];
  /** Without it, exact duplicates only. */
  near?: {
    bands: number;
    /** Candidates count only if this share of their signatures agrees. */
    verify?: { similarity: number; permutations: number };
  };
  /** For sorting; beyond it, records go to unnamed files in `dir`. */
  memoryBytes: number;
  dir: string;
  threads: number;
}

export interface Duplicates {
  /** Documents that go, in rising order. */
  dropped: Float64Array;
  /** 1: equals an earlier document, 0: a near duplicate; for each dropped one. */
  exact: Uint8Array;
  /** The first document of its cluster, which stays. */
  kept: Float64Array;
  /** Sets of two and more documents, and the size of the largest. */
  clusters: number;
  largest: number;
  /** Pairs that shared a band and were not known to be of one cluster; of these, pairs that were not alike enough. */
  candidates: number;
  refused: number;
  spilledBytes: number;
}

export interface PartOptions {
  part: 'line' | 'paragraph';
  /** Shorter parts are never counted or removed. */
  minCharacters: number;
  threads: number;
}

export interface PartHasher {
  /** Hashes of each document's distinct parts, document after document, and how many each has. */
  run(batch: TextBatch): Promise<{ hashes: BigUint64Array; counts: Uint32Array }>;
}

export interface RepeatedPartOptions {
  /** What `PartHasher` gave for successive documents, without a head. */
  files: { hashes: string; counts: string; documents: number }[];
  minDocuments: number;
  memoryBytes: number;
  dir: string;
  threads: number;
}

/** Parts that many documents have, by rising hash, and the number of the first document that has each. */
export interface RepeatedParts {
  hashes: BigUint64Array;
  first: BigUint64Array;
}

export interface FoundParts extends RepeatedParts {
  /** Different parts of all documents. */
  distinct: number;
  spilledBytes: number;
}

export interface PartRemover {
  /** Removes repeated parts but for the first; `firstDocument` is the number of the batch's first document. */
  run(batch: TextBatch, firstDocument: number): Promise<{ texts: TextBatch; removed: Uint32Array }>;
}

/** Documents may be of several parts, each ended by U+001E: equal words are looked for in runs of them too. */
export interface ContaminationOptions {
  /** Words of an n-gram. */
  ngram: number;
  /** A row of fewer words than `ngram`, but as many as this, is one n-gram of its own length. */
  minWords: number;
  /** How many evaluation sets there are. */
  sets: number;
  threads: number;
}

export interface Contamination {
  /** Rows of evaluation set `set`, in order; all sets before the first check. */
  add(rows: TextBatch, set: number): Promise<void>;
  check(batch: TextBatch, options: CheckOptions): Promise<ContaminationCheck>;
  /** Counts n-grams, as `check` gave them, of the documents that stay. */
  tally(documents: Uint32Array, grams: Uint32Array): Promise<void>;
  /** What was counted, by row through all sets. */
  overlap(): Promise<Overlap>;
}

export interface CheckOptions {
  /** A document is contaminated when its share of some set reaches this. */
  threshold: number;
  /** Gives contaminated documents without what they share and `margin` bytes around it; remaining pieces of fewer
   * than `minPiece` bytes go as well. */
  cut?: { margin: number; minPiece: number };
}

export interface ContaminationCheck {
  /** Documents times sets: the greatest share of one row's n-grams that the document has; 1 for equal words. */
  shares: Float64Array;
  /** Which document has which n-gram, document after document. */
  documents: Uint32Array;
  grams: Uint32Array;
  /** With `cut`: all documents. */
  texts?: TextBatch;
}

export interface Overlap {
  /** Documents that have an n-gram of the row, and documents of just its words (or with such parts). */
  documents: Float64Array;
  exact: Float64Array;
  /** The share of its n-grams that any document has, and the greatest share that one document has. */
  share: Float64Array;
  best: Float64Array;
}
