/** Settings of the stage that trains a tokenizer, and what they come to. */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { dataFiles } from '../data/files.ts';
import { rowSettings } from '../data/shapes/settings.ts';
import { checkTemplate, DEFAULT_CHAT_TEMPLATE, DEFAULT_TURN_TOKEN } from './chat_template.ts';
import {
  BYTE_PATTERNS,
  type BytePattern,
  CHARACTER_PATTERNS,
  type CharacterPattern,
} from './split_patterns.ts';

/** How the report names the tokenizer that was trained. */
export const OWN_NAME = 'trained';
const DEFAULT_PATTERN = 'llama3';
const DEFAULT_CHARACTER_PATTERN = 'spaces';
/** SentencePiece's. */
const DEFAULT_COVERAGE = 0.9995;
const DEFAULT_EOS = '<|im_end|>';

export const tokenizerSettings = rowSettings.extend({
  files: dataFiles.describe('Data files: names or glob patterns.'),
  base: z
    .string()
    .min(1)
    .optional()
    .describe(
      'A tokenizer to extend, a stage or a folder: its tokens keep their ids, and merges learnt from the text as it encodes it are added up to `vocab_size`.',
    ),
  vocab_size: z
    .int()
    .min(257)
    .max(1 << 20)
    .default(32_000)
    .describe(
      'Tokens in all: special and reserved tokens, 256 bytes, with `byte_fallback` characters, and merges; with `base` those of the base too.',
    ),
  min_frequency: z.int().min(0).default(2).describe('A pair must occur this often to be merged.'),
  pattern: z
    .enum([...BYTE_PATTERNS, ...CHARACTER_PATTERNS])
    .optional()
    .describe(
      `How text is split into words first; \`${DEFAULT_PATTERN}\` unless there is a base, with \`byte_fallback\` one of ${CHARACTER_PATTERNS.map((name) => `\`${name}\``).join(' and ')} (\`${DEFAULT_CHARACTER_PATTERN}\`).`,
    ),
  byte_fallback: z
    .boolean()
    .default(false)
    .describe(
      'Merges start from characters, with `▁` for a space, and characters that are no tokens are written as their bytes (Llama 2, Mistral 7B, Gemma); false: from bytes.',
    ),
  character_coverage: z
    .number()
    .gt(0)
    .max(1)
    .optional()
    .describe(
      `With \`byte_fallback\`: share of all characters of the text that the most frequent ones, which become tokens, cover (${DEFAULT_COVERAGE}).`,
    ),
  limit_alphabet: z
    .int()
    .min(1)
    .optional()
    .describe('With `byte_fallback`: characters that become tokens at most.'),
  add_prefix_space: z
    .boolean()
    .optional()
    .describe('With `byte_fallback`: a text begins with a space that is not its own, as in Llama 2 (false).'),
  special_tokens: z
    .array(z.string().min(1))
    .optional()
    .describe(`\`[${DEFAULT_TURN_TOKEN}]\` unless there is a base; with one they are added to its own.`),
  reserved_tokens: z
    .int()
    .min(0)
    .max(65_536)
    .default(0)
    .describe('Further special tokens for later use: `<|reserved_0|>` and on.'),
  eos_token: z
    .string()
    .min(1)
    .optional()
    .describe(`Ends documents and answers; \`${DEFAULT_EOS}\` unless there is a base.`),
  bos_token: z.string().min(1).optional(),
  chat_template: z
    .string()
    .min(1)
    .optional()
    .describe('Jinja, as transformers reads it; ChatML unless there is a base.'),
  max_words: z
    .int()
    .min(1000)
    .optional()
    .describe(
      'About as many distinct words are held at most: rare ones are dropped while text is read, and counts are then approximate. Each takes 50 bytes or so. Absent: all are held.',
    ),
  prune_below: z
    .int()
    .min(1)
    .default(1)
    .describe('Words that occur less often in all of the text take no part in the merges.'),
  compare_with: z
    .record(z.string().min(1), z.string().min(1))
    .optional()
    .describe('Other tokenizers by name, stages or folders: the report has their bytes a token too.'),
});
export type TokenizerSettings = z.output<typeof tokenizerSettings>;

/** What a tokenizer without a base is made with. */
export interface NewSettings {
  units: { pattern: BytePattern } | CharacterSettings;
  specialTokens: string[];
  eosToken: string;
  bosToken: string | undefined;
  chatTemplate: string;
}

/** How the alphabet of a vocabulary of characters is chosen, and its text read. */
export interface CharacterSettings {
  pattern: CharacterPattern;
  coverage: number;
  limit: number | undefined;
  addPrefixSpace: boolean;
}

export function newSettings(settings: TokenizerSettings): NewSettings {
  const eosToken = settings.eos_token ?? DEFAULT_EOS;
  const bos = settings.bos_token === undefined ? [] : [settings.bos_token];
  const named = [...bos, eosToken, ...(settings.special_tokens ?? [DEFAULT_TURN_TOKEN])];
  return {
    units: unitSettings(settings),
    specialTokens: [...new Set([...named, ...reservedTokens(settings)])],
    eosToken,
    bosToken: settings.bos_token,
    chatTemplate: settings.chat_template ?? DEFAULT_CHAT_TEMPLATE,
  };
}

function unitSettings(settings: TokenizerSettings): NewSettings['units'] {
  const { pattern, byte_fallback, character_coverage, limit_alphabet, add_prefix_space } = settings;
  const ofCharacters = CHARACTER_PATTERNS.find((name) => name === pattern);
  if (byte_fallback && (pattern === undefined || ofCharacters !== undefined)) {
    return {
      pattern: ofCharacters ?? DEFAULT_CHARACTER_PATTERN,
      coverage: character_coverage ?? DEFAULT_COVERAGE,
      limit: limit_alphabet,
      addPrefixSpace: add_prefix_space ?? false,
    };
  }
  const ofBytes = BYTE_PATTERNS.find((name) => name === (pattern ?? DEFAULT_PATTERN));
  if (!byte_fallback && ofBytes !== undefined) return { pattern: ofBytes };
  throw new AnnealError(
    'recipe_invalid',
    `The pattern ${pattern} is one of vocabularies that start from ${byte_fallback ? 'bytes' : 'characters'}.`,
    {
      path: 'pattern',
      hint: byte_fallback
        ? `With byte_fallback, patterns are ${CHARACTER_PATTERNS.join(' and ')}.`
        : 'Set byte_fallback: true, or choose another pattern.',
    },
  );
}

export function reservedTokens({ reserved_tokens }: TokenizerSettings): string[] {
  return Array.from({ length: reserved_tokens }, (_, i) => `<|reserved_${i}|>`);
}

/** What the chat template writes as if it were a token, and what is none. */
export function plainTurnTokens(settings: TokenizerSettings): string[] {
  if (settings.base !== undefined) return [];
  const { chatTemplate, specialTokens } = newSettings(settings);
  const written = new Set(chatTemplate.match(/<\|[^|<>\s]+\|>/g));
  return [...written].filter((token) => !specialTokens.includes(token));
}

export function checkSettings(settings: TokenizerSettings): void {
  const taken = [OWN_NAME, 'base'].find((name) => settings.compare_with?.[name] !== undefined);
  if (taken !== undefined) {
    throw new AnnealError('recipe_invalid', `compare_with: the report has a column named ${taken} already.`, {
      path: `compare_with.${taken}`,
      hint: 'Give that tokenizer another name.',
    });
  }
  const named = [settings.bos_token, settings.eos_token, ...(settings.special_tokens ?? [])];
  const word = named.find((token) => token !== undefined && /^[\p{L}\p{M}\p{N}\s]+$/u.test(token));
  if (word !== undefined) {
    throw new AnnealError('recipe_invalid', `The special token ${JSON.stringify(word)} is ordinary text.`, {
      path:
        word === settings.bos_token
          ? 'bos_token'
          : word === settings.eos_token
            ? 'eos_token'
            : 'special_tokens',
      hint: 'Choose one that cannot occur in the text, such as <|name|>.',
    });
  }
  const forCharacters = (['character_coverage', 'limit_alphabet', 'add_prefix_space'] as const).find(
    (key) => settings[key] !== undefined,
  );
  if (forCharacters !== undefined && !settings.byte_fallback) {
    throw new AnnealError('recipe_invalid', `${forCharacters} is about vocabularies of characters.`, {
      path: forCharacters,
      hint: 'Set byte_fallback: true, or leave it out.',
    });
  }
  if (settings.base !== undefined) {
    const own = settings.byte_fallback
      ? 'byte_fallback'
      : (['pattern', 'eos_token', 'bos_token', 'chat_template'] as const).find(
          (key) => settings[key] !== undefined,
        );
    if (own === undefined) return;
    throw new AnnealError('recipe_invalid', `${own} is the base's: a tokenizer that extends it keeps it.`, {
      path: own,
      hint: 'Leave it out, or train a tokenizer without `base`.',
    });
  }
  const { specialTokens, chatTemplate } = newSettings(settings);
  if (settings.vocab_size < 256 + specialTokens.length) {
    throw new AnnealError(
      'recipe_invalid',
      `vocab_size ${settings.vocab_size} has no room for 256 bytes and ${specialTokens.length} special tokens.`,
      { path: 'vocab_size', hint: `Set it to ${256 + specialTokens.length} or more.` },
    );
  }
  checkTemplate(chatTemplate);
}
