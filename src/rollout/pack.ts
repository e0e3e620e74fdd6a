/**
 * Samples laid end to end for the engine: a prompt once for all its samples of the batch, and each completion as a
 * sequence that goes on from it. Scored are the rows that predict the completions' tokens, in the order of the
 * samples: the prompt's last row for the first token, then the completion's own.
 */
import type { Batch } from '../native/addon.ts';

export interface PackedSample {
  /** Samples with the same number that stand side by side share their prompt. */
  group: number;
  prompt: Int32Array;
  ids: Int32Array;
}

/** Packs samples of at least one token each. */
export function packSamples(samples: readonly PackedSample[]): Batch {
  const borders = [0];
  const prefix: number[] = [];
  const pieces: Int32Array[] = [];
  const scored: number[] = [];
  let tokens = 0;
  const add = (ids: Int32Array, after: number) => {
    pieces.push(ids);
    prefix.push(after);
    tokens += ids.length;
    borders.push(tokens);
  };
  let group: number | undefined;
  let promptSequence = -1;
  let promptEnd = 0;
  for (const sample of samples) {
    if (sample.group !== group) {
      group = sample.group;
      promptSequence = prefix.length;
      add(sample.prompt, -1);
      promptEnd = tokens;
    }
    scored.push(promptEnd - 1);
    const { length } = sample.ids;
    for (let i = 0; i + 1 < length; i++) scored.push(tokens + i);
    // The last token is predicted, and predicts nothing.
    if (length > 1) add(sample.ids.subarray(0, length - 1), promptSequence);
  }
  return {
    tokens: join(pieces, tokens),
    cuSeqlens: Int32Array.from(borders),
    prefix: Int32Array.from(prefix),
    scored: Int32Array.from(scored),
    targets: join(
      samples.map(({ ids }) => ids),
      scored.length,
    ),
  };
}

function join(pieces: readonly Int32Array[], length: number): Int32Array {
  const joined = new Int32Array(length);
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}
