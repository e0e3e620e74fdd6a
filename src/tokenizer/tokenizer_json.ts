/**
 * `tokenizer.json` of Hugging Face `tokenizers`, as far as byte-level BPE with the three known split patterns
 * goes: read into what the native encoder takes, and written so that `tokenizers` gives the same ids.
 */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { SplitPattern } from '../native/addon.ts';
import { SPLIT_REGEX, UNIT_CHARS } from './byte_level.ts';

/** A token that is looked for in text before byte-pair encoding. */
export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

/** A vocabulary ready for the native encoder. */
export interface Vocabulary {
  pattern: SplitPattern;
  /** Left and right unit of each merge, in turn. */
  merges: Int32Array;
  /** Vocabulary id of each unit: 256 bytes, then the result of each merge. */
  ids: Int32Array;
  /** Id of every token of the model, added tokens not included. */
  tokens: Map<string, number>;
  added: AddedToken[];
  /** Words of the vocabulary are taken whole, even where merges would not lead to them. */
  ignoreMerges: boolean;
}

const addedTokenSchema = z.object({
  id: z.int().min(0),
  content: z.string().min(1),
  special: z.boolean(),
  single_word: z.literal(false).default(false),
  lstrip: z.literal(false).default(false),
  rstrip: z.literal(false).default(false),
});

const byteLevelSchema = z.object({
  type: z.literal('ByteLevel'),
  add_prefix_space: z.literal(false),
  use_regex: z.boolean().default(true),
});

const preTokenizerSchema = z.union([
  byteLevelSchema,
  z.object({
    type: z.literal('Sequence'),
    pretokenizers: z.tuple([
      z.object({
        type: z.literal('Split'),
        pattern: z.object({ Regex: z.string() }),
        behavior: z.literal('Isolated'),
        invert: z.literal(false),
      }),
      byteLevelSchema,
    ]),
  }),
]);

const fileSchema = z.object({
  added_tokens: z.array(addedTokenSchema).default([]),
  normalizer: z.null().optional(),
  pre_tokenizer: preTokenizerSchema,
  decoder: z.object({ type: z.literal('ByteLevel') }),
  model: z.object({
    type: z.literal('BPE'),
    dropout: z.null().optional(),
    continuing_subword_prefix: z.union([z.null(), z.literal('')]).optional(),
    end_of_word_suffix: z.union([z.null(), z.literal('')]).optional(),
    byte_fallback: z.literal(false).default(false),
    ignore_merges: z.boolean().default(false),
    vocab: z.record(z.string(), z.int().min(0)),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
  }),
});

function invalid(path: string, message: string, hint?: string): AnnealError {
  return new AnnealError('tokenizer_invalid', `${path}: ${message}`, {
    path,
    hint: hint ?? 'Byte-level BPE tokenizers with the GPT-2, cl100k or Llama 3 split pattern can be used.',
  });
}

function splitPattern(preTokenizer: z.output<typeof preTokenizerSchema>, path: string): SplitPattern {
  if (preTokenizer.type === 'ByteLevel') {
    if (preTokenizer.use_regex) return 'gpt2';
    throw invalid(path, 'pre_tokenizer: ByteLevel without its pattern does not split text into words.');
  }
  const [split, byteLevel] = preTokenizer.pretokenizers;
  const regex = split.pattern.Regex;
  if (byteLevel.use_regex) throw invalid(path, 'pre_tokenizer: text is split by two patterns.');
  if (regex === SPLIT_REGEX.llama3) return 'llama3';
  if (regex === SPLIT_REGEX.gpt2) return 'gpt2';
  throw invalid(path, `pre_tokenizer: unknown split pattern ${JSON.stringify(regex)}.`);
}

/** Reads the parsed content of a tokenizer.json; `path` is for messages. */
export function parseTokenizerJson(content: unknown, path: string): Vocabulary {
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw invalid(path, `${issue.path.join('.') || 'content'}: ${issue.message}.`);
  }
  const { model, added_tokens, pre_tokenizer } = parsed.data;
  const pattern = splitPattern(pre_tokenizer, path);
  const tokens = new Map(Object.entries(model.vocab));
  const idOf = (token: string, what: string): number => {
    const id = tokens.get(token);
    if (id === undefined) throw invalid(path, `model.vocab: ${what} ${JSON.stringify(token)} is missing.`);
    return id;
  };

  const pairs = model.merges.map((merge, i): [string, string] => {
    if (typeof merge !== 'string') return merge;
    const parts = merge.split(' ');
    if (parts.length !== 2) throw invalid(path, `model.merges.${i}: ${JSON.stringify(merge)} is not a pair.`);
    return parts as [string, string];
  });
  const ids = new Int32Array(256 + pairs.length);
  // A token may be the result of several merges; any of its units stands for it.
  const unitOf = new Map<string, number>();
  for (const [unit, char] of UNIT_CHARS.entries()) {
    ids[unit] = idOf(char, 'byte');
    unitOf.set(char, unit);
  }
  for (const [i, [left, right]] of pairs.entries()) {
    ids[256 + i] = idOf(left + right, 'the result of a merge,');
    if (!unitOf.has(left + right)) unitOf.set(left + right, 256 + i);
  }
  const merges = new Int32Array(pairs.length * 2);
  for (const [i, pair] of pairs.entries()) {
    for (const side of [0, 1] as const) {
      const unit = unitOf.get(pair[side]);
      if (unit === undefined) {
        throw invalid(path, `model.merges.${i}: no merge leads to ${JSON.stringify(pair[side])}.`);
      }
      merges[2 * i + side] = unit;
    }
  }
  return { pattern, merges, ids, tokens, added: added_tokens, ignoreMerges: model.ignore_merges };
}

/** What a new tokenizer is made of. */
export interface NewTokenizer {
  pattern: SplitPattern;
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
  const preTokenizer =
    pattern === 'gpt2'
      ? { ...byteLevel, use_regex: true }
      : {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Split', pattern: { Regex: SPLIT_REGEX[pattern] }, behavior: 'Isolated', invert: false },
            { ...byteLevel, use_regex: false },
          ],
        };
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
    pre_tokenizer: preTokenizer,
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
