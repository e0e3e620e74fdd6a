/** A native cleaner by the `cleaning:` settings. */
import { AnnealError } from '../../../proto/errors.ts';
import type { Addon, Cleaner, CleaningRules, LanguageModel } from '../../native/addon.ts';
import { nearest } from '../../util/nearest.ts';
import { loadLanguageModel } from './language.ts';
import { type CleaningSettings, namedLanguages, needsLanguages } from './settings.ts';

export interface CleanerContext {
  addon: Addon;
  threads: number;
  /** Hashes of the lines to remove, found by the pass that `boilerplate_lines` asks for. */
  boilerplateLines?: BigUint64Array;
  /** Examples kept a rule and batch. */
  examples?: number;
}

const EXAMPLES = 3;

export async function createCleaner(settings: CleaningSettings, context: CleanerContext): Promise<Cleaner> {
  const { addon, threads, boilerplateLines, examples = EXAMPLES } = context;
  const model = needsLanguages(settings) ? await loadLanguageModel() : undefined;
  const rules = cleaningRules(settings, model);
  if (boilerplateLines !== undefined) rules.boilerplateLines = boilerplateLines;
  return addon.createCleaner({ rules, threads, examples });
}

/** The native form of the settings. */
export function cleaningRules(settings: CleaningSettings, model?: LanguageModel): CleaningRules {
  const known = model?.languages ?? [];
  for (const { key, language } of namedLanguages(settings)) {
    if (known.includes(language)) continue;
    const guess = nearest(language, known);
    throw new AnnealError('recipe_invalid', `cleaning.${key}: ${language} is not a known language.`, {
      path: `cleaning.${key}`,
      hint: `${guess === undefined ? '' : `Did you mean ${guess}? `}Known: ${known.join(', ')}.`,
    });
  }
  const indices = (list: readonly string[] | undefined) =>
    list === undefined ? undefined : Int32Array.from(list, (language) => known.indexOf(language));
  const { gopher_repetition, gopher_quality, c4, fineweb, pii, secrets } = settings;
  const rules: CleaningRules = {
    fixMojibake: settings.fix_mojibake,
    nfc: settings.unicode_nfc,
    controlCharacters: settings.control_characters,
  };
  if (settings.max_line_length !== undefined) rules.maxLineLength = settings.max_line_length;
  if (settings.min_document_length !== undefined) rules.minDocumentLength = settings.min_document_length;
  if (settings.max_document_length !== undefined) rules.maxDocumentLength = settings.max_document_length;
  if (model) {
    const languages = indices(settings.languages);
    rules.language = { model, minScore: settings.min_language_score ?? 0, ...(languages && { languages }) };
  }
  if (gopher_repetition) {
    rules.gopherRepetition = {
      languages: indices(gopher_repetition.languages),
      dupLineFrac: gopher_repetition.dup_line_frac,
      dupParaFrac: gopher_repetition.dup_para_frac,
      dupLineCharFrac: gopher_repetition.dup_line_char_frac,
      dupParaCharFrac: gopher_repetition.dup_para_char_frac,
      topNGrams: byLength(gopher_repetition.top_n_grams),
      dupNGrams: byLength(gopher_repetition.dup_n_grams),
    };
  }
  if (gopher_quality) {
    rules.gopherQuality = {
      languages: indices(gopher_quality.languages),
      minDocWords: gopher_quality.min_doc_words,
      maxDocWords: gopher_quality.max_doc_words,
      minAvgWordLength: gopher_quality.min_avg_word_length,
      maxAvgWordLength: gopher_quality.max_avg_word_length,
      maxSymbolWordRatio: gopher_quality.max_symbol_word_ratio,
      maxBulletLinesRatio: gopher_quality.max_bullet_lines_ratio,
      maxEllipsisLinesRatio: gopher_quality.max_ellipsis_lines_ratio,
      minAlphaWordsRatio: gopher_quality.min_alpha_words_ratio,
      minStopWords: gopher_quality.min_stop_words,
      stopWords: gopher_quality.stop_words,
    };
  }
  if (c4) {
    rules.c4 = {
      languages: indices(c4.languages),
      removeCitations: c4.remove_citations,
      noTerminalPunct: c4.filter_no_terminal_punct,
      minNumSentences: c4.min_num_sentences,
      minWordsPerLine: c4.min_words_per_line,
      maxWordLength: c4.max_word_length,
      loremIpsum: c4.filter_lorem_ipsum,
      javascript: c4.filter_javascript,
      curlyBracket: c4.filter_curly_bracket,
      policy: c4.filter_policy,
    };
  }
  if (fineweb) {
    rules.fineweb = {
      languages: indices(fineweb.languages),
      linePunctThr: fineweb.line_punct_thr,
      linePunctExcludeZero: fineweb.line_punct_exclude_zero,
      shortLineThr: fineweb.short_line_thr,
      shortLineLength: fineweb.short_line_length,
      charDuplicatesRatio: fineweb.char_duplicates_ratio,
      newLineRatio: fineweb.new_line_ratio,
    };
  }
  if (pii) {
    const { credit_card: creditCard, ...rest } = pii;
    rules.pii = { ...rest, ...(creditCard && { creditCard }) };
  }
  if (secrets) {
    rules.secrets = Object.fromEntries(
      Object.entries(secrets).map(([name, action]) => [camel(name), action]),
    ) as NonNullable<CleaningRules['secrets']>;
  }
  return rules;
}

/** N-grams from short to long. */
function byLength(bounds: Record<string, number>): [number, number][] {
  return Object.entries(bounds)
    .map(([length, bound]): [number, number] => [Number(length), bound])
    .sort(([a], [b]) => a - b);
}

function camel(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
