/** The `tokenizer.json` of a new vocabulary, written so that `tokenizers` gives the same ids. */
import { AnnealError } from '../../proto/errors.ts';
import type { BpeEncoderOptions } from '../native/addon.ts';
import { textBatch } from '../native/text_batch.ts';
import { BYTE_TOKENS, SPACE, UNIT_BYTES, UNIT_CHARS } from './byte_level.ts';
import { type BytePattern, type CharacterPattern, writePreTokenizer } from './split_patterns.ts';

/** What a new tokenizer is made of. */
export type NewTokenizer = ByteLevelTokenizer | CharacterTokenizer;

interface Merged {
  /** Pairs of units: first those of the kind, then the results of merges. */
  merges: Int32Array;
  /** In the order of their ids, from 0. */
  specialTokens: string[];
}

/** Units are bytes, in the order of GPT-2's alphabet. */
export interface ByteLevelTokenizer extends Merged {
  pattern: BytePattern;
}

/** Units are the characters of an alphabet; others are written as tokens for their bytes. */
export interface CharacterTokenizer extends Merged {
  pattern: CharacterPattern;
  /** Code points in rising order. */
  alphabet: Int32Array;
  /** Text begins with a space that is not its own. */
  addPrefixSpace: boolean;
}

const isOfCharacters = (tokenizer: NewTokenizer): tokenizer is CharacterTokenizer => 'alphabet' in tokenizer;

/** Tokens that come before the units. */
export function tokensBefore(
  tokenizer: Pick<NewTokenizer, 'specialTokens'> & { alphabet?: Int32Array },
): string[] {
  return tokenizer.alphabet === undefined
    ? tokenizer.specialTokens
    : [...tokenizer.specialTokens, ...BYTE_TOKENS];
}

/** Strings of the units: characters, then merges. */
function unitStrings(tokenizer: NewTokenizer): string[] {
  const units: string[] = isOfCharacters(tokenizer)
    ? Array.from(tokenizer.alphabet, (point) => String.fromCodePoint(point))
    : [...UNIT_CHARS];
  const { merges } = tokenizer;
  for (let i = 0; i < merges.length; i += 2) units.push(units[merges[i]!]! + units[merges[i + 1]!]!);
  return units;
}

/** An encoder straight from the merges, with no special tokens. */
export function encoderOptionsOf(tokenizer: NewTokenizer, threads: number): BpeEncoderOptions {
  const { pattern, merges, specialTokens } = tokenizer;
  const characters = isOfCharacters(tokenizer);
  const before = tokensBefore(tokenizer);
  const units = unitStrings(tokenizer);
  const firstResult = units.length - merges.length / 2;
  const byteIds = new Int32Array(256);
  for (const [unit, byte] of UNIT_BYTES.entries()) {
    byteIds[byte] = specialTokens.length + (characters ? byte : unit);
  }
  return {
    pattern,
    model: {
      merges: Int32Array.from({ length: (merges.length / 2) * 3 }, (_, i) => {
        const merge = Math.floor(i / 3);
        return before.length + (i % 3 === 2 ? firstResult + merge : merges[2 * merge + (i % 3)]!);
      }),
      byteIds,
      characters,
      wholeWords: false,
      tokens: textBatch(characters ? [...before, ...units] : []),
    },
    added: [],
    text: {
      nfc: false,
      prepend: characters && tokenizer.addPrefixSpace ? SPACE : '',
      space: characters ? SPACE : '',
      lateSpace: '',
      prefix: '',
      prefixRule: 'never',
    },
    threads,
  };
}

/** Text of the tokenizer.json of a new tokenizer. */
export function formatTokenizerJson(tokenizer: NewTokenizer): string {
  const { merges, specialTokens } = tokenizer;
  const units = unitStrings(tokenizer);
  const strings = [...tokensBefore(tokenizer), ...units];
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
  const { model, ...steps } = isOfCharacters(tokenizer)
    ? characterSteps(tokenizer)
    : byteLevelSteps(tokenizer);
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
    ...steps,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      ...model,
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

/** What of the file says how text becomes units, and units text. */
interface Steps {
  normalizer: object | null;
  pre_tokenizer: object | null;
  post_processor: null;
  decoder: object;
  model: { fuse_unk: boolean; byte_fallback: boolean };
}

function byteLevelSteps({ pattern }: ByteLevelTokenizer): Steps {
  return {
    normalizer: null,
    pre_tokenizer: writePreTokenizer(pattern),
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { fuse_unk: false, byte_fallback: false },
  };
}

/** As the files of Llama 2 and Gemma have it: no step cuts text into words, but no merge goes across their borders. */
function characterSteps({ addPrefixSpace }: CharacterTokenizer): Steps {
  const replace = (from: string, content: string): object => ({
    type: 'Replace',
    pattern: { String: from },
    content,
  });
  const spaces = replace(' ', SPACE);
  const prepend = { type: 'Prepend', prepend: SPACE };
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
  return {
    normalizer: addPrefixSpace ? { type: 'Sequence', normalizers: [prepend, spaces] } : spaces,
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        replace(SPACE, ' '),
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(addPrefixSpace ? [strip] : []),
      ],
    },
    model: { fuse_unk: true, byte_fallback: true },
  };
}
