/** Ranges of a file that is made of blocks: groups of rows of Parquet, record batches of Arrow. */

export interface Range {
  /** The first block, and the one behind the last. */
  start: number;
  end: number;
  /** As stored. */
  bytes: number;
}

/** Runs of blocks of about `unitBytes`, by the bytes of each block. */
export function rangesOf(blocks: readonly number[], unitBytes: number): Range[] {
  const ranges: Range[] = [];
  for (const [i, bytes] of blocks.entries()) {
    const last = ranges.at(-1);
    if (last === undefined || last.bytes >= unitBytes) ranges.push({ start: i, end: i + 1, bytes });
    else {
      last.end = i + 1;
      last.bytes += bytes;
    }
  }
  return ranges;
}
