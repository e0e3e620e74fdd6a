/**
 * The `cleaning:` settings of a source: each rule by the name under which it was published, off unless it is named.
 * `true` applies a group with its published thresholds. docs/cleaning.md says what each means and where it is from.
 */
import { z } from 'zod';

const ratio = (value: number, text: string) =>
  z.number().min(0).max(1).nullable().default(value).describe(text);
const count = (value: number, text: string) => z.number().min(0).nullable().default(value).describe(text);

const languages = z
  .array(z.string().min(2))
  .min(1)
  .optional()
  .describe('Only documents of these languages are judged (ISO 639-1 codes); the others pass.');

const gopherRepetition = z.strictObject({
  languages,
  dup_line_frac: ratio(0.3, 'Largest share of lines that were there before.'),
  dup_para_frac: ratio(0.3, 'Largest share of paragraphs that were there before.'),
  dup_line_char_frac: ratio(0.2, 'Largest share of characters in lines that were there before.'),
  dup_para_char_frac: ratio(0.2, 'Largest share of characters in paragraphs that were there before.'),
  top_n_grams: nGrams(
    { 2: 0.2, 3: 0.18, 4: 0.16 },
    'Largest share of characters of the commonest n-gram, by n.',
  ),
  dup_n_grams: nGrams(
    { 5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1 },
    'Largest share of characters in n-grams that were there before, by n.',
  ),
});

function nGrams(value: Record<string, number>, text: string) {
  return z
    .record(z.string().regex(/^[1-9]\d?$/, 'is not a length from 1 to 99'), z.number().min(0).max(1))
    .default(value)
    .describe(text);
}

/** Gopher's stop words: documents of English hold at least two of them. */
const STOP_WORDS = ['the', 'be', 'to', 'of', 'and', 'that', 'have', 'with'];

const gopherQuality = z.strictObject({
  languages,
  min_doc_words: count(50, 'Fewest words.'),
  max_doc_words: count(100_000, 'Most words.'),
  min_avg_word_length: count(3, 'Smallest mean length of a word, in characters.'),
  max_avg_word_length: count(10, 'Largest mean length of a word, in characters.'),
  max_symbol_word_ratio: ratio(0.1, 'Most hash signs, and most ellipses, to a word.'),
  max_bullet_lines_ratio: ratio(0.9, 'Largest share of lines that begin with a bullet or hyphen.'),
  max_ellipsis_lines_ratio: ratio(0.3, 'Largest share of lines that end with an ellipsis.'),
  min_alpha_words_ratio: ratio(0.8, 'Smallest share of words with a letter.'),
  min_stop_words: count(2, 'Fewest different words of stop_words.'),
  stop_words: z.array(z.string().min(1)).default(STOP_WORDS).describe('Words that good text holds.'),
});

const limit = (value: number, text: string) => z.int().min(-1).default(value).describe(`${text} -1: any.`);

const c4 = z.strictObject({
  languages,
  remove_citations: z.boolean().default(true).describe('Removes [1], [edit] and [citation needed].'),
  filter_no_terminal_punct: z
    .boolean()
    .default(true)
    .describe('Removes lines that do not end with . ? ! or a quote, and those that end with an ellipsis.'),
  min_num_sentences: limit(5, 'Fewest sentences of a document, in the lines that are left.'),
  min_words_per_line: limit(3, 'Lines of fewer words are removed.'),
  max_word_length: limit(1000, 'Lines with a longer word are removed.'),
  filter_lorem_ipsum: z.boolean().default(true).describe('Drops documents with "lorem ipsum".'),
  filter_javascript: z.boolean().default(true).describe('Removes lines with "javascript".'),
  filter_curly_bracket: z.boolean().default(true).describe('Drops documents with a curly bracket.'),
  filter_policy: z.boolean().default(true).describe('Removes lines about cookies, privacy and terms of use.'),
});

const c4Badwords = z.strictObject({
  languages,
  default_language: z
    .string()
    .default('en')
    .describe('Whose words the documents are judged by whose language is not known or not looked for.'),
  keep_fraction: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe('Share of the documents with such words that stay, chosen by a hash of seed and content.'),
});

const fineweb = z.strictObject({
  languages,
  line_punct_thr: z
    .number()
    .min(0)
    .max(1)
    .default(0.12)
    .describe('Smallest share of lines that end with punctuation.'),
  line_punct_exclude_zero: z.boolean().default(false).describe('Documents without any such line pass.'),
  short_line_thr: z.number().min(0).max(1).default(0.67).describe('Largest share of short lines.'),
  short_line_length: z.int().min(0).default(30).describe('Length of a short line, in characters.'),
  char_duplicates_ratio: z
    .number()
    .min(0)
    .max(1)
    .default(0.01)
    .describe('Largest share of characters in lines that were there before.'),
  new_line_ratio: z.number().min(0).default(0.3).describe('Most line feeds to a word.'),
});

/** `true` for all defaults, `false` for none of it. */
function group<S extends z.ZodType>(schema: S, text: string) {
  return z
    .union([z.boolean(), schema])
    .transform((value): z.output<S> | undefined =>
      value === true ? schema.parse({}) : value === false ? undefined : (value as z.output<S>),
    )
    .optional()
    .describe(text);
}

const action = z.enum(['drop', 'mask']).optional();

const PII = ['email', 'ip', 'phone', 'credit_card', 'iban'] as const;
const SECRETS = [
  'aws_key',
  'github_token',
  'private_key',
  'jwt',
  'slack_token',
  'google_api_key',
  'generic_secret',
] as const;

/** One action for all of a family of patterns, or one for each. */
function patterns<const K extends string>(names: readonly K[], text: string) {
  const each = z.strictObject(
    Object.fromEntries(names.map((name) => [name, action])) as Record<K, typeof action>,
  );
  return z
    .union([z.enum(['drop', 'mask']), each])
    .transform(
      (value): Partial<Record<K, 'drop' | 'mask'>> =>
        typeof value === 'string'
          ? (Object.fromEntries(names.map((name) => [name, value])) as Record<K, 'drop' | 'mask'>)
          : (value as Partial<Record<K, 'drop' | 'mask'>>),
    )
    .optional()
    .describe(text);
}

export const cleaningSettings = z.strictObject({
  fix_mojibake: z
    .boolean()
    .default(false)
    .describe('Repairs UTF-8 that was read as Windows-1252 or Latin-1, where nobody can have meant it.'),
  unicode_nfc: z.boolean().default(false).describe("Unicode's canonical composition (NFC)."),
  control_characters: z
    .boolean()
    .default(false)
    .describe('Removes control characters and byte order marks; every line break becomes a line feed.'),
  boilerplate_lines: z
    .strictObject({
      min_documents: z.int().min(2).default(10).describe('Documents in which the line occurs.'),
    })
    .optional()
    .describe('Removes lines that occur in many documents (needs a pass over all of them first).'),
  max_line_length: z.int().min(1).optional().describe('Longer lines are removed; in characters.'),
  min_document_length: z.int().min(1).optional().describe('Shorter documents are dropped; in characters.'),
  max_document_length: z.int().min(1).optional().describe('Longer documents are dropped; in characters.'),
  languages: z
    .array(z.string().min(2))
    .min(1)
    .optional()
    .describe('Documents of other languages are dropped (ISO 639-1 codes, such as en and zh).'),
  min_language_score: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe('Documents whose language is less certain are dropped; ordinary text has 0.75 and more.'),
  gopher_repetition: group(gopherRepetition, "Gopher's rules about repeated lines, paragraphs and n-grams."),
  gopher_quality: group(gopherQuality, "Gopher's rules about words and lines."),
  c4: group(c4, "C4's rules: lines and documents that are no prose."),
  c4_badwords: group(
    c4Badwords,
    "C4's bad words: documents with a word of their language's list are dropped.",
  ),
  fineweb: group(fineweb, "FineWeb's rules about lines."),
  pii: patterns(PII, 'Personal data: what is done where some is found.'),
  secrets: patterns(SECRETS, 'Keys, tokens and passwords: what is done where some are found.'),
});

export type CleaningSettings = z.output<typeof cleaningSettings>;

/** Whether a rule needs the language of a document. */
export function needsLanguages(settings: CleaningSettings): boolean {
  return settings.min_language_score !== undefined || namedLanguages(settings).length > 0;
}

/** All languages that the settings name, with the key that names each. */
export function namedLanguages(settings: CleaningSettings): { key: string; language: string }[] {
  const lists: Record<string, readonly string[] | undefined> = {
    languages: settings.languages,
    'gopher_repetition.languages': settings.gopher_repetition?.languages,
    'gopher_quality.languages': settings.gopher_quality?.languages,
    'c4.languages': settings.c4?.languages,
    'c4_badwords.languages': settings.c4_badwords?.languages,
    'fineweb.languages': settings.fineweb?.languages,
  };
  return Object.entries(lists).flatMap(([key, list]) =>
    (list ?? []).map((language, i) => ({ key: `${key}.${i}`, language })),
  );
}
