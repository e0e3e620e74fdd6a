/** The `tokenizer.json` of a new byte-level vocabulary, written so that `tokenizers` gives the same ids. */
import { AnnealError } from '../../proto/errors.ts';
import type { BpeEncoderOptions } from '../native/addon.ts';
import { textBatch } from '../native/text_batch.ts';
import { UNIT_BYTES, UNIT_CHARS } from './byte_level.ts';
import { type BytePattern, writePreTokenizer } from './split_patterns.ts';

/** What a new tokenizer is made of. */
export interface NewTokenizer {
  pattern: BytePattern;
  /** As the native trainer gives them. */
  merges: Int32Array;
  /** In the order of their ids, from 0. */
  specialTokens: string[];
}

/** Vocabulary strings of a new tokenizer by id: special tokens, bytes, merges (the order of `tokenizers`). */
export function vocabularyStrings({ merges, specialTokens }: NewTokenizer): string[] {
  const units: string[] = [...UNIT_CHARS];
  for (let i = 0; i < merges.length; i += 2) units.push(units[merges[i]!]! + units[merges[i + 1]!]!);
  return [...specialTokens, ...units];
}

/** An encoder straight from the merges, with no special tokens. */
export function encoderOptionsOf(
  { pattern, merges, specialTokens }: NewTokenizer,
  threads: number,
): BpeEncoderOptions {
  const idOf = (unit: number): number => specialTokens.length + unit;
  const byteIds = new Int32Array(256);
  for (const [unit, byte] of UNIT_BYTES.entries()) byteIds[byte] = idOf(unit);
  return {
    pattern,
    model: {
      merges: Int32Array.from({ length: (merges.length / 2) * 3 }, (_, i) => {
        const merge = Math.floor(i / 3);
        return idOf(i % 3 === 2 ? 256 + merge : merges[2 * merge + (i % 3)]!);
      }),
      byteIds,
      characters: false,
      wholeWords: false,
      tokens: textBatch([]),
    },
    added: [],
    text: { nfc: false, prepend: '', space: '', lateSpace: '', prefix: '', prefixRule: 'never' },
    threads,
  };
}

/** Text of the tokenizer.json of a new tokenizer. */
export function formatTokenizerJson(tokenizer: NewTokenizer): string {
  const { pattern, merges, specialTokens } = tokenizer;
  const strings = vocabularyStrings(tokenizer);
  const units = strings.slice(specialTokens.length);
  const vocab = new Map(strings.map((token, id) => [token, id]));
  if (vocab.size !== strings.length) {
    const twice = strings.find((token, id) => vocab.get(token) !== id);
    throw new AnnealError(
      'tokenizer_invalid',
      `The token ${JSON.stringify(twice)} is in the vocabulary twice.`,
      {
        hint: 'Choose a special token that cannot occur as an ordinary word of the text, such as <|name|>.',
      },
    );
  }
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
  const content = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((token, id) => ({
      id,
      content: token,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: writePreTokenizer(pattern),
    post_processor: null,
    decoder: { ...byteLevel, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: VOCAB_PLACE,
      merges: Array.from({ length: merges.length / 2 }, (_, i) => [
        units[merges[2 * i]!],
        units[merges[2 * i + 1]!],
      ]),
    },
  };
  // An object would put keys such as "0" first; the file lists tokens by id.
  const entries = strings.map((token, id) => `      ${JSON.stringify(token)}: ${id}`).join(',\n');
  const text = JSON.stringify(content, null, 2);
  const place = JSON.stringify(VOCAB_PLACE);
  const at = text.indexOf(`"vocab": ${place}`) + '"vocab": '.length;
  return `${text.slice(0, at)}{\n${entries}\n    }${text.slice(at + place.length)}\n`;
}

const VOCAB_PLACE = 'vocab';
