/** Texts of JSONL rows as bytes, of which no string and no object is made. */

export interface JsonTextOptions {
  /** Holds the text. */
  field: string;
  /** A row with one of these fields needs a parser. */
  others: readonly string[];
}

export interface JsonTexts {
  /**
   * Writes the text of a row, which is valid UTF-8, to `out` from `at` on, where there must be room for as many bytes
   * as the row has. The bytes of the text (a lone surrogate is U+FFFD); -1 where a parser has to look at the row: its
   * field is missing, no string or there twice, it has one of the other fields, or it is not valid.
   */
  read(row: Uint8Array, out: Uint8Array, at: number): number;
}
