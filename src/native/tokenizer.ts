/** Byte-pair encoding: training and use. Documents are UTF-8. */
import type { TextBatch } from './text_batch.ts';

export type SplitPattern = 'gpt2' | 'cl100k' | 'llama3';

export interface BpeTrainer {
  /** Counts the words of these documents (UTF-8, invalid bytes are taken as bytes). Calls wait for one another. */
  feed(documents: TextBatch): Promise<void>;
  totals(): Promise<WordTotals>;
  /**
   * Merges as pairs of units: 0..255 are bytes in GPT-2's printable order, 256 + i is merge i's result. Uses up what
   * was counted.
   */
  train(options: {
    merges: number;
    minFrequency: number;
    /** Words that occur less often are left out; absent: none are. */
    minWordCount?: number;
    signal?: AbortSignal;
  }): Promise<Int32Array>;
}

/** What a trainer has counted. */
export interface WordTotals {
  /** Distinct words that it holds. */
  distinct: number;
  /** How often it dropped rare words to keep to `maxWords`, and the largest count that a kept word needed then. */
  prunings: number;
  droppedBelow: number;
}

export interface BpeEncoder {
  /** Encodes plain text (special tokens are not looked for) to ids. */
  encode(text: Uint8Array): Int32Array;
  /** Many documents on all threads, off the event loop: ids end to end, and their ends. */
  encodeBatch(documents: TextBatch): Promise<{ ids: Int32Array; ends: Float64Array }>;
}
