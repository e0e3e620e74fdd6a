/** A native cleaner by the `cleaning:` settings. */
import { AnnealError } from '../../../proto/errors.ts';
import type { Addon, Cleaner } from '../../native/addon.ts';
import { didYouMean } from '../../util/nearest.ts';
import { loadBadWords } from './bad_words.ts';
import { loadLanguageModel } from './language.ts';
import { type CleaningSettings, namedLanguages, needsLanguages } from './settings.ts';

export interface CleanerContext {
  addon: Addon;
  threads: number;
  /** Of the recipe: chooses the documents that `c4_badwords.keep_fraction` keeps. */
  seed: number;
  /** Hashes of the lines to remove, found by the pass that `boilerplate_lines` asks for. */
  boilerplateLines?: BigUint64Array | undefined;
  /** Examples kept a rule and batch. */
  examples?: number;
}

const EXAMPLES = 3;

export async function createCleaner(settings: CleaningSettings, context: CleanerContext): Promise<Cleaner> {
  const { addon, threads, seed, boilerplateLines, examples = EXAMPLES } = context;
  const languageModel = needsLanguages(settings) ? await loadLanguageModel() : undefined;
  const known = languageModel?.languages ?? [];
  checkLanguages(settings, known);
  const badWords = await loadBadWords(settings, known);
  return addon.createCleaner({
    rules: settings,
    languageModel,
    badWords: badWords && { ...badWords, seed },
    boilerplateLines,
    threads,
    examples,
  });
}

function checkLanguages(settings: CleaningSettings, known: readonly string[]): void {
  for (const { key, language } of namedLanguages(settings)) {
    if (known.includes(language)) continue;
    throw new AnnealError('recipe_invalid', `cleaning.${key}: ${language} is not a known language.`, {
      path: `cleaning.${key}`,
      hint: `${didYouMean(language, known)}Known: ${known.join(', ')}.`,
    });
  }
}
