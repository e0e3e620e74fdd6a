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
  /** Codes of the languages to whose documents it is applied (needs `languageModel`); left out: all. */
  languages?: readonly string[] | undefined;
}

/** By length of an n-gram: its bound. */
type NGrams = Record<string, number>;

/** The rules of a cleaner, by the names of the settings and applied in this order. */
export interface CleaningRules {
  fix_mojibake?: boolean;
  control_characters?: boolean;
  unicode_nfc?: boolean;
  /** Lengths in characters. */
  max_line_length?: number | undefined;
  min_document_length?: number | undefined;
  max_document_length?: number | undefined;
  languages?: readonly string[] | undefined;
  min_language_score?: number | undefined;
  gopher_repetition?:
    | (OfLanguages & {
        dup_line_frac: Threshold;
        dup_para_frac: Threshold;
        dup_line_char_frac: Threshold;
        dup_para_char_frac: Threshold;
        top_n_grams: NGrams;
        dup_n_grams: NGrams;
      })
    | undefined;
  gopher_quality?:
    | (OfLanguages & {
        min_doc_words: Threshold;
        max_doc_words: Threshold;
        min_avg_word_length: Threshold;
        max_avg_word_length: Threshold;
        max_symbol_word_ratio: Threshold;
        max_bullet_lines_ratio: Threshold;
        max_ellipsis_lines_ratio: Threshold;
        min_alpha_words_ratio: Threshold;
        min_stop_words: Threshold;
        stop_words: readonly string[];
      })
    | undefined;
  c4?:
    | (OfLanguages & {
        remove_citations: boolean;
        filter_no_terminal_punct: boolean;
        /** -1: not applied; as the next two. */
        min_num_sentences: number;
        min_words_per_line: number;
        max_word_length: number;
        filter_lorem_ipsum: boolean;
        filter_javascript: boolean;
        filter_curly_bracket: boolean;
        filter_policy: boolean;
      })
    | undefined;
  /** Needs `badWords`. */
  c4_badwords?: (OfLanguages & { default_language: string; keep_fraction: number }) | undefined;
  fineweb?:
    | (OfLanguages & {
        line_punct_thr: number;
        line_punct_exclude_zero: boolean;
        short_line_thr: number;
        short_line_length: number;
        char_duplicates_ratio: number;
        new_line_ratio: number;
      })
    | undefined;
  pii?: Partial<Record<'email' | 'ip' | 'phone' | 'credit_card' | 'iban', PatternAction>> | undefined;
  secrets?:
    | Partial<
        Record<
          | 'aws_key'
          | 'github_token'
          | 'private_key'
          | 'jwt'
          | 'slack_token'
          | 'google_api_key'
          | 'generic_secret',
          PatternAction
        >
      >
    | undefined;
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

/** The words that `c4_badwords` looks for (src/data/cleaning/bad_words.ts). */
export interface BadWords {
  /** Words in lower case; `bordered` ones count only between characters that are no letter, number or underscore. */
  lists: { language: string; words: readonly string[]; bordered: boolean }[];
  /** Upper and lower case of letters in turn. */
  lowerCase: Uint32Array;
  /** Chooses, with their content, the documents of `keep_fraction`. */
  seed: number;
}

export interface CleanerOptions {
  rules: CleaningRules;
  /** Where the language of documents is looked at. */
  languageModel?: LanguageModel | undefined;
  badWords?: BadWords | undefined;
  /** Lines with one of these hashes are removed (line_hash of native/data/line_hash.h). */
  boilerplateLines?: BigUint64Array | undefined;
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
  /** Index of its language among the model's; -1: none was found, or looked for. */
  languages: Int16Array;
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
  /** Codes of the languages that it tells apart; empty: it does not look. */
  readonly languages: string[];
  /** Cleans the batch off the event loop; results are in the order of documents, whatever the threads. */
  run(batch: TextBatch): Promise<CleanedBatch>;
}
