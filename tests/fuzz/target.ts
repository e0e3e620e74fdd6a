/** What is fuzzed: a target takes any bytes and gives records, or an AnnealError. */
export interface Target {
  /** Whole inputs to begin with. */
  corpus: readonly Buffer[];
  /** Pieces that mean something in the format. */
  words: readonly string[];
  /** Makes checksums and the like right again. */
  mend?(bytes: Buffer): Buffer;
  /** Its library rejects promises that nobody waits for; the program runs it where they do no harm. */
  leavesPromises?: boolean;
  /** Reads the bytes; returns how many bytes of content they gave. */
  run(bytes: Buffer, number: number): Promise<number>;
}
