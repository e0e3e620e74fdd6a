/** The tokenizer as the stages see it. `loadTokenizer(dir)` reads `tokenizer.json` and `tokenizer_config.json`. */
export interface Tokenizer {
  vocabSize: number;
  bosId: number | undefined;
  eosId: number | undefined;
  /** Special tokens by their text. */
  specials: ReadonlyMap<string, number>;
  chatTemplate: string | undefined;
  /** SHA-256 of tokenizer.json: travels with each artifact. */
  hash: string;
  /** Plain text to ids: special tokens inside the text are not recognised, none are added. */
  encode(text: string | Uint8Array): Int32Array;
  /** Text of a rendered chat template: special tokens are recognised. */
  encodeWithSpecials(text: string): Int32Array;
  /** Many documents on all threads; ends are exclusive offsets into ids. */
  encodeBatch(documents: Uint8Array[]): Promise<{ ids: Int32Array; ends: Float64Array }>;
  /** Bytes of ids joined, then read as UTF-8; `skipSpecials` leaves special tokens out. */
  decode(ids: Iterable<number>, options?: { skipSpecials?: boolean }): string;
  /** For streaming: text is held back while a character is incomplete. */
  decodeStream(options?: { skipSpecials?: boolean }): { push(id: number): string; end(): string };
}
