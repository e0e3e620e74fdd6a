/** Verdicts and texts of the published filters against datatrove's, on the same documents under the same words. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DataRandom } from '../../src/data/random.ts';
import { ours, peer, python, type Verdict } from './cleaning_peer.ts';

const STOPS = [
  'the',
  'of',
  'and',
  'to',
  'be',
  'that',
  'have',
  'with',
  'The',
  "don't",
  'it’s',
  'a',
  'I',
  'U.S.',
];
const WORDS = [
  'history',
  'mountain',
  'well-known',
  'électrique',
  'Straße',
  'процесс',
  'Ελλάδα',
  '漢字',
  'ひらがな',
];
const ODD = [
  '3.14',
  '1,000',
  '#',
  '# ',
  '...',
  '…',
  '--',
  '_',
  'snake_case',
  '１',
  '２３',
  '$5',
  '©',
  '🙂',
  'é',
  'क्षि',
];
const ENDS = [
  '.',
  '.',
  '.',
  '!',
  '?',
  '."',
  ".'",
  '...',
  '…',
  '。',
  '',
  '',
  ',',
  ' A.',
  '?!',
  '.”',
  ' [1]',
  ' [edit] ',
];
const PHRASES = [
  'JavaScript is needed here.',
  'Lorem ipsum dolor sit amet.',
  'See our Privacy Policy for more.',
  'This page uses cooKies today.',
  'The java[12]script trick is here.',
  'A brace { is here.',
  'See [citation needed] and [٣] and [x] and [12.',
];
const BREAKS = ['\n', '\n', '\n', '\n\n', '\r\n', '\n\n\n', ' \n', '\u2028', '\v', '\u0085', '\n \n'];

/** Documents near the bounds of the rules: repeated lines and phrases, bullets, odd breaks and spaces, any script. */
function documents(count: number, seed: string): string[] {
  const random = new DataRandom(seed);
  const pick = <T>(from: readonly T[]): T => from[random.below(from.length)]!;
  return Array.from({ length: count }, () => {
    const odds = 2 + random.below(40);
    const words = Array.from({ length: 3 + random.below(150) }, () => {
      if (random.below(odds) === 0) return pick(ODD);
      if (random.below(3) === 0) return pick(STOPS);
      if (random.below(6) === 0) return pick(WORDS);
      return Array.from({ length: 1 + random.below(9) }, () => pick([...'aeioutnsrhl'])).join('');
    });
    const lineOf = () => {
      if (random.below(25) === 0) return pick(PHRASES);
      const start = random.below(words.length);
      const part = words.slice(start, start + 1 + random.below(18));
      const bullet = random.below(odds) === 0 ? pick(['- ', '• ', '  -', '\u00A0• ']) : '';
      return bullet + part.join(pick([' ', ' ', ' ', '  ', '\u00A0', '\t'])) + pick(ENDS);
    };
    const lines = Array.from({ length: 1 + random.below(30) }, lineOf);
    const repeats = random.below(8);
    const all = Array.from({ length: 1 + random.below(40) }, () =>
      random.below(8) < repeats ? pick(lines) : lineOf(),
    );
    return (
      all.map((line) => line + (random.below(5) === 0 ? pick(BREAKS) : '\n')).join('') +
      pick(['', '', '\n', 'x'])
    );
  });
}

/** Prose as people write it: this project's pages, whole and in pieces. */
function realTexts(): string[] {
  const folder = join(import.meta.dirname, '../../docs');
  return readdirSync(folder)
    .filter((name) => name.endsWith('.md'))
    .flatMap((name) => {
      const text = readFileSync(join(folder, name), 'utf8');
      return [text, ...text.split(/\n(?=#)/)];
    });
}

const FILTERS: Record<string, { settings: object; options: object }[]> = {
  gopher_quality: [
    { settings: {}, options: {} },
    {
      settings: { min_doc_words: 5, min_avg_word_length: 2, min_alpha_words_ratio: 0.6, min_stop_words: 4 },
      options: {
        min_doc_words: 5,
        min_avg_word_length: 2,
        max_non_alpha_words_ratio: 0.6,
        min_stop_words: 4,
      },
    },
    {
      settings: {
        min_doc_words: 1,
        max_doc_words: 200,
        max_avg_word_length: 4.5,
        max_symbol_word_ratio: 0.02,
      },
      options: {
        min_doc_words: 1,
        max_doc_words: 200,
        max_avg_word_length: 4.5,
        max_symbol_word_ratio: 0.02,
      },
    },
    {
      settings: { min_doc_words: 1, max_bullet_lines_ratio: 0.1, max_ellipsis_lines_ratio: 0.1 },
      options: { min_doc_words: 1, max_bullet_lines_ratio: 0.1, max_ellipsis_lines_ratio: 0.1 },
    },
  ],
  gopher_repetition: [
    { settings: {}, options: {} },
    {
      settings: {
        dup_line_frac: null,
        dup_para_frac: null,
        dup_line_char_frac: null,
        dup_para_char_frac: null,
        top_n_grams: {},
      },
      options: {
        dup_line_frac: null,
        dup_para_frac: null,
        dup_line_char_frac: null,
        dup_para_char_frac: null,
        top_n_grams: [],
      },
    },
    {
      settings: {
        dup_line_frac: 0.8,
        dup_line_char_frac: 0.8,
        top_n_grams: { 1: 0.2, 2: 0.04, 3: 0.03, 4: 0.03 },
        dup_n_grams: { 2: 0.8, 20: 0.5 },
      },
      options: {
        dup_line_frac: 0.8,
        dup_line_char_frac: 0.8,
        top_n_grams: [
          [1, 0.2],
          [2, 0.04],
          [3, 0.03],
          [4, 0.03],
        ],
        dup_n_grams: [
          [2, 0.8],
          [20, 0.5],
        ],
      },
    },
  ],
  c4: [
    { settings: {}, options: {} },
    {
      settings: { filter_no_terminal_punct: false, min_num_sentences: 3, max_word_length: 8 },
      options: { filter_no_terminal_punct: false, min_num_sentences: 3, max_word_length: 8 },
    },
    {
      settings: {
        filter_lorem_ipsum: false,
        filter_policy: false,
        min_words_per_line: -1,
        min_num_sentences: -1,
      },
      options: {
        filter_lorem_ipsum: false,
        filter_policy: false,
        min_words_per_line: -1,
        min_num_sentences: -1,
      },
    },
  ],
  fineweb: [
    { settings: {}, options: {} },
    {
      settings: { line_punct_thr: 0.5, line_punct_exclude_zero: true, char_duplicates_ratio: 0.3 },
      options: { line_punct_thr: 0.5, line_punct_exclude_zero: true, char_duplicates_ratio: 0.3 },
    },
    {
      settings: {
        char_duplicates_ratio: 0.9,
        short_line_thr: 0.4,
        short_line_length: 60,
        new_line_ratio: 0.1,
      },
      options: {
        char_duplicates_ratio: 0.9,
        short_line_thr: 0.4,
        short_line_length: 60,
        new_line_ratio: 0.1,
      },
    },
  ],
};

describe.skipIf(!python)('filters equal datatrove', () => {
  const texts = [...documents(1500, 'cleaning'), ...realTexts(), '', ' ', '\n', '\n\n', 'a', '.', '\u2028\n'];

  for (const [filter, cases] of Object.entries(FILTERS)) {
    it.each(cases)(`${filter} %#`, { timeout: 120_000 }, async ({ settings, options }) => {
      // datatrove divides by the number of words and lines: documents without any end it.
      const given = filter === 'gopher_quality' ? texts.filter((text) => /\p{L}/u.test(text)) : texts;
      const wanted = peer({ filter, options, documents: given });
      const found = await ours({ [filter]: settings }, given);
      const reasons = new Map<string | null, number>();
      given.forEach((text, i) => {
        const [reason, cleaned] = wanted[i]!;
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
        // What is left of an empty document is dropped by us as such.
        const expected: Verdict = reason === null && cleaned === '' ? ['empty', ''] : [reason, cleaned];
        if (expected[0] !== null) expected[1] = found[i]![1];
        expect(found[i], JSON.stringify(text)).toEqual(expected);
      });
      // The documents are near enough to the bounds that rules do both.
      expect(reasons.get(null)).toBeGreaterThan(50);
      expect(reasons.size).toBeGreaterThan(filter === 'c4' ? 1 : 2);
    });
  }
});
