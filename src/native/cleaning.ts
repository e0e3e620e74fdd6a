/**
 * Cleaning of documents: repair, rules that drop, rules that change, in one pass on native threads. Every threshold
 * is given; what is left out or null is not applied. The meaning of each rule stands in docs/cleaning.md.
 */
import type { TextBatch } from './text_batch.ts';

/** What is done where a pattern is found: its document is dropped, or the match gives way to a placeholder. */
export type PatternAction = 'drop' | 'mask';

/** A published threshold; null or 0: not applied. */
type Threshold = number | null;

interface OfLanguages {
  /** Indices of the languages to whose documents it is applied (needs `language`); left out: all. */
  languages?: Int32Array | undefined;
}

/** The rules of a cleaner, applied in this order. */
export interface CleaningRules {
  /** Repairs UTF-8 that was decoded as Latin-1 or Windows-1252. */
  fixMojibake?: boolean;
  /** Unicode's canonical composition. */
  nfc?: boolean;
  /** Removes control characters and byte order marks; line ends become \n. */
  controlCharacters?: boolean;
  /** Removes lines with one of these hashes (line_hash of native/data/line_hash.h). */
  boilerplateLines?: BigUint64Array;
  /** Lengths in characters. */
  maxLineLength?: number;
  minDocumentLength?: number;
  maxDocumentLength?: number;
  language?: {
    model: LanguageModel;
    /** Indices in the model's `languages`; other documents are dropped. Left out: none is. */
    languages?: Int32Array;
    minScore?: number;
  };
  gopherRepetition?: OfLanguages & {
    dupLineFrac: Threshold;
    dupParaFrac: Threshold;
    dupLineCharFrac: Threshold;
    dupParaCharFrac: Threshold;
    /** By length of the n-gram: its bound. */
    topNGrams: [length: number, bound: number][];
    dupNGrams: [length: number, bound: number][];
  };
  gopherQuality?: OfLanguages & {
    minDocWords: Threshold;
    maxDocWords: Threshold;
    minAvgWordLength: Threshold;
    maxAvgWordLength: Threshold;
    maxSymbolWordRatio: Threshold;
    maxBulletLinesRatio: Threshold;
    maxEllipsisLinesRatio: Threshold;
    minAlphaWordsRatio: Threshold;
    minStopWords: Threshold;
    stopWords: string[];
  };
  c4?: OfLanguages & {
    removeCitations: boolean;
    noTerminalPunct: boolean;
    /** -1: not applied; as the next two. */
    minNumSentences: number;
    minWordsPerLine: number;
    maxWordLength: number;
    loremIpsum: boolean;
    javascript: boolean;
    curlyBracket: boolean;
    policy: boolean;
  };
  fineweb?: OfLanguages & {
    linePunctThr: number;
    linePunctExcludeZero: boolean;
    shortLineThr: number;
    shortLineLength: number;
    charDuplicatesRatio: number;
    newLineRatio: number;
  };
  pii?: Partial<Record<'email' | 'ip' | 'phone' | 'creditCard' | 'iban', PatternAction>>;
  secrets?: Partial<
    Record<
      'awsKey' | 'githubToken' | 'privateKey' | 'jwt' | 'slackToken' | 'googleApiKey' | 'genericSecret',
      PatternAction
    >
  >;
}

/** A table of byte n-grams and their scores by language (src/data/cleaning/language.ts reads it from `eld`). */
export interface LanguageModel {
  /** ISO 639-1 codes. */
  languages: string[];
  /** An n-gram of up to 6 letters: letter i at bits 8 i, the length at bits 56 and up. */
  keys: BigUint64Array;
  /** Exclusive end of each n-gram's scores; a score is a language's index and its points. */
  scoreEnds: Int32Array;
  scoreLanguages: Uint8Array;
  scorePoints: Uint8Array;
  /** The table's letter of each byte of UTF-8. */
  letters: Uint8Array;
  /** Upper and lower case of letters in turn. */
  lower: Uint32Array;
}

export interface CleanerOptions {
  rules: CleaningRules;
  threads: number;
  /** Examples kept a rule and batch, the first ones in document order. */
  examples: number;
}

export interface CleanedBatch {
  /** All documents, as repaired and changed; of dropped ones, as far as they came. */
  texts: TextBatch;
  /** 0: kept; else 1 + the index in `Cleaner.rules` of the rule that dropped it. */
  verdicts: Uint16Array;
  /** What the rule measured where it dropped a document, or NaN. */
  measures: Float64Array;
  /** Changed documents: 1, others 0. */
  changed: Uint8Array;
  /** By index in `Cleaner.rules`: documents that the rule changed, and places that it changed in them. */
  changedDocuments: Float64Array;
  changes: Float64Array;
  /** Examples: document, rule (its index), and an excerpt around the place after the change; of drops, the beginning. */
  exampleDocuments: Uint32Array;
  exampleRules: Uint16Array;
  excerpts: TextBatch;
}

export interface Cleaner {
  /** Names of the rules, as published. */
  readonly rules: string[];
  /** Cleans the batch off the event loop; results are in the order of documents, whatever the threads. */
  run(batch: TextBatch): Promise<CleanedBatch>;
}
