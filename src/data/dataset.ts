/**
 * A prepared dataset as the training stages see it: memory-mapped token shards with an index (made by `prepare`).
 * `openTokenDataset(dir, split)` opens one split of an artifact.
 */
export interface TokenDataset {
  numDocuments: number;
  numTokens: number;
  tokenizerHash: string;
  /** Ids of document i, its EOS included. A view or a copy; not to be written to. */
  document(i: number): Int32Array;
  length(i: number): number;
  /** Where document i came from: source file and row, for the ledger and for messages. */
  origin(i: number): string;
  close(): void;
}

/** A row of supervised data: ids and which of them are targets that count (by position, never by id). */
export interface SupervisedRow {
  ids: Int32Array;
  /** 1 where the token at this index is to be predicted and scored. */
  scored: Uint8Array;
  /** `file:line`. */
  origin: string;
}
