/**
 * Rows: what a training stage draws from, whatever the data were. A row is a sequence of input ids with the
 * positions that are scored and their targets. Batches are rows laid end to end.
 */

import type { SupervisedRow, TokenDataset } from '../data/dataset.ts';
import type { Batch } from '../native/addon.ts';

/** A row as the engine reads it. */
export interface TrainingRow {
  inputs: Int32Array;
  /** Indices into `inputs` whose next token is scored, rising. */
  scored: Int32Array;
  /** The next token of each. */
  targets: Int32Array;
}

export interface RowSource {
  count: number;
  /** Input tokens of each row. */
  lengths: Int32Array;
  /** Scored positions of each row. */
  scoredCounts: Int32Array;
  /** Ends, in rows, of the phases of a curriculum, which are trained one after the other. */
  phaseEnds?: readonly number[] | undefined;
  row(index: number): TrainingRow;
  /** Where a row came from, for the ledger and for messages. */
  origin(index: number): string;
}

/** What rows need of a dataset. */
export type DocumentSource = Pick<
  TokenDataset,
  'numDocuments' | 'length' | 'document' | 'origin' | 'phaseEnds'
>;

/**
 * Documents as rows, every token but the first of each scored. A longer document is cut into rows of `maxLength`
 * inputs, the last position of a piece scored against the first token of the next, so that no token is lost; or it
 * is left out, with `dropLong`.
 */
export function documentRows(dataset: DocumentSource, maxLength: number, dropLong: boolean): RowSource {
  const inputsOf = (d: number): number => {
    const inputs = dataset.length(d) - 1;
    return dropLong && inputs > maxLength ? 0 : inputs;
  };
  let count = 0;
  for (let d = 0; d < dataset.numDocuments; d++) count += Math.max(0, Math.ceil(inputsOf(d) / maxLength));
  const starts = new Uint32Array(count);
  const documents = new Uint32Array(count);
  const lengths = new Int32Array(count);
  const phaseEnds = dataset.phaseEnds.map(() => 0);
  let phase = 0;
  let at = 0;
  for (let d = 0; d < dataset.numDocuments; d++) {
    while (d >= dataset.phaseEnds[phase]!) phaseEnds[phase++] = at;
    const inputs = inputsOf(d);
    for (let start = 0; start < inputs; start += maxLength) {
      documents[at] = d;
      starts[at] = start;
      lengths[at] = Math.min(maxLength, inputs - start);
      at += 1;
    }
  }
  for (; phase < phaseEnds.length; phase++) phaseEnds[phase] = at;
  return {
    count,
    lengths,
    scoredCounts: lengths,
    phaseEnds,
    row(index) {
      const start = starts[index]!;
      const length = lengths[index]!;
      const ids = dataset.document(documents[index]!, start, length + 1);
      return {
        inputs: ids.subarray(0, length),
        scored: positions(length),
        targets: ids.subarray(1),
      };
    },
    origin(index) {
      const start = starts[index]!;
      return `${dataset.origin(documents[index]!)}${start > 0 ? `+${start}` : ''}`;
    },
  };
}

/** 0, 1, 2, ...: every position scored. */
function positions(length: number): Int32Array {
  const result = new Int32Array(length);
  for (let i = 0; i < length; i++) result[i] = i;
  return result;
}

/**
 * Supervised rows. What follows the last scored token is of no use to a causal model and left out, and so is a row
 * without a scored token.
 */
export function supervisedRows(rows: readonly SupervisedRow[]): RowSource {
  const converted: TrainingRow[] = [];
  const origins: string[] = [];
  for (const { ids, scored, origin } of rows) {
    const positions: number[] = [];
    for (let i = 1; i < ids.length; i++) if (scored[i]) positions.push(i - 1);
    if (positions.length === 0) continue;
    origins.push(origin);
    converted.push({
      inputs: ids.subarray(0, positions.at(-1)! + 1),
      scored: Int32Array.from(positions),
      targets: Int32Array.from(positions, (position) => ids[position + 1]!),
    });
  }
  return {
    count: converted.length,
    lengths: Int32Array.from(converted, (row) => row.inputs.length),
    scoredCounts: Int32Array.from(converted, (row) => row.scored.length),
    row: (index) => converted[index]!,
    origin: (index) => origins[index]!,
  };
}

/** Rows of at most `maxLength` tokens: longer ones are cut short, cut into several, or left out. */
export function fitRows(
  rows: readonly SupervisedRow[],
  maxLength: number,
  tooLong: 'truncate' | 'split' | 'drop',
): SupervisedRow[] {
  return rows.flatMap((row) => (row.ids.length <= maxLength ? [row] : fitRow(row, maxLength, tooLong)));
}

/** What is trained of a row that is longer than `maxLength`. */
export function fitRow(
  row: SupervisedRow,
  maxLength: number,
  tooLong: 'truncate' | 'split' | 'drop',
): SupervisedRow[] {
  if (tooLong === 'drop') return [];
  const pieces: SupervisedRow[] = [];
  // The last token of a piece is the first of the next, which is predicted from it.
  for (let start = 0; start < row.ids.length - 1; start += maxLength - 1) {
    const [ids, scored] = [row.ids, row.scored].map((each) => each.subarray(start, start + maxLength)) as [
      Int32Array,
      Uint8Array,
    ];
    pieces.push({ ids, scored, origin: start === 0 ? row.origin : `${row.origin}+${start}` });
    if (tooLong === 'truncate') break;
  }
  return pieces;
}

/** Rows laid end to end. */
export function packBatch(source: RowSource, indices: readonly number[]): Batch {
  const rows = indices.map((index) => source.row(index));
  const numTokens = rows.reduce((sum, row) => sum + row.inputs.length, 0);
  const numScored = rows.reduce((sum, row) => sum + row.scored.length, 0);
  const batch: Batch = {
    tokens: new Int32Array(numTokens),
    cuSeqlens: new Int32Array(rows.length + 1),
    scored: new Int32Array(numScored),
    targets: new Int32Array(numScored),
  };
  let token = 0;
  let score = 0;
  rows.forEach((row, s) => {
    batch.tokens.set(row.inputs, token);
    batch.targets.set(row.targets, score);
    for (const position of row.scored) {
      batch.scored[score] = token + position;
      score += 1;
    }
    token += row.inputs.length;
    batch.cuSeqlens[s + 1] = token;
  });
  return batch;
}
