/** Byte-pair encoding: training and use. Documents are UTF-8. */
import type { TextBatch } from './text_batch.ts';

/** How text is cut into words; src/tokenizer/split_patterns.ts has the expressions and families behind the names. */
export const SPLIT_PATTERNS = [
  'gpt2',
  'gpt2_digits',
  'falcon',
  'cl100k',
  'llama3',
  'qwen2',
  'qwen3_5',
  'o200k',
  'tekken',
  'deepseek3',
  'deepseek_llm',
  'deepseek_coder',
  'bloom',
  'spaces',
  'spaces_digits',
  'each_space',
  'none',
] as const;
export type SplitPattern = (typeof SPLIT_PATTERNS)[number];

export interface BpeTrainerOptions {
  pattern: SplitPattern;
  threads: number;
  /** About as many distinct words are kept at most, and counts are then approximate; absent: all are. */
  maxWords?: number;
  /** Text is brought into Unicode's form C first; absent: it is not. */
  nfc?: boolean;
  /** Takes the place of U+0020; absent: it stays. */
  space?: string;
  /** Put before a text that is not empty. */
  prefix?: string;
}

export interface BpeTrainer {
  /** Counts the words of these documents (UTF-8, invalid bytes are taken as bytes). Calls wait for one another. */
  feed(documents: TextBatch): Promise<void>;
  totals(): Promise<WordTotals>;
  /**
   * The most frequent characters of the words that were counted, as code points in rising order: as many as cover the
   * share `coverage` of the text (SentencePiece's `character_coverage`), `limit` at most.
   */
  alphabet(options: { coverage: number; limit?: number }): Promise<Int32Array>;
  /**
   * Merges as pairs of units: 0..255 are bytes in GPT-2's printable order, 256 + i is merge i's result; with a base,
   * units are its ids, and the result of merge i is `firstResult` + i; with an alphabet, 1 + i is its character i, and
   * results follow. No merge makes a token a second time. Uses up what was counted.
   */
  train(options: {
    merges: number;
    minFrequency: number;
    /** Words that occur less often are left out; absent: none are. */
    minWordCount?: number;
    /** A vocabulary that training goes on from; its model has the text of all tokens. */
    base?: { model: BpeModelParts; firstResult: number };
    /** Units are these characters, code points in rising order, and no merge goes across others. */
    alphabet?: Int32Array;
    /** Further tokens that no merge may make; absent: none. */
    taken?: TextBatch;
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

export interface BpeModelParts {
  /** Left, right and resulting id of each merge, in turn. */
  merges: Int32Array;
  /** Id of each byte value; where words start from characters: of those without an id of their own. */
  byteIds: Int32Array;
  /** Words start from characters (as SentencePiece has it), not from bytes. */
  characters: boolean;
  /** A word that is a token is taken whole, whatever the merges say. */
  wholeWords: boolean;
  /** Text of the tokens by id, empty where an id is not used: needed with `characters` or `wholeWords`. */
  tokens: TextBatch;
}

/** A token that is looked for in text before it is cut into words. */
export interface AddedToken {
  id: number;
  content: string;
  /** Left in place when plain text is encoded. */
  special: boolean;
  /** Found only where no word character stands beside it. */
  singleWord: boolean;
  /** Takes the spaces before (after) it along. */
  lstrip: boolean;
  rstrip: boolean;
  /** Looked for in the normalized text, itself normalized. */
  normalized: boolean;
}

/** What is done to each stretch of text between added tokens, in this order. */
export interface TextRules {
  nfc: boolean;
  /** Put before a stretch that is not empty. */
  prepend: string;
  /** Takes the place of U+0020; empty: it stays. */
  space: string;
  /** The same once added tokens of normalized text were found. */
  lateSpace: string;
  /** Put before a stretch that does not begin so, by `prefixRule`: that at the start of the text, or each. */
  prefix: string;
  prefixRule: 'never' | 'first' | 'always';
}

export interface BpeEncoderOptions {
  pattern: SplitPattern;
  model: BpeModelParts;
  added: AddedToken[];
  text: TextRules;
  threads: number;
}

export interface BpeEncoder {
  /** Ids of one text. Without specials, special tokens in the text are text like any other. */
  encode(text: Uint8Array, withSpecials: boolean): Int32Array;
  /** Many documents on all threads, off the event loop: ids end to end, and their ends. */
  encodeBatch(documents: TextBatch, withSpecials: boolean): Promise<{ ids: Int32Array; ends: Float64Array }>;
}
