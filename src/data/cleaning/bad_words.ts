/**
 * C4's lists of bad words: the "List of Dirty, Naughty, Obscene, and Otherwise Bad Words" (LDNOOBW, CC BY 4.0) of the
 * npm package `naughty-words`, in the versions that C4 (English, 2016) and mC4 (27 other lists, July 2020) used.
 */
import { AnnealError } from '../../../proto/errors.ts';
import type { BadWords } from '../../native/cleaning.ts';
import { didYouMean } from '../../util/nearest.ts';
import { lowerCasePairs } from './lower_case.ts';
import type { CleaningSettings } from './settings.ts';

/** What the English list got after C4 had taken it; the package's other lists are mC4's as they are. */
export const ADDED_TO_ENGLISH = new Set(
  (
    'bangbus beastiality cialis cumshot cumshots fag gangbang horny livesex masturbating masturbation mong nsfw ' +
    'nutten pikey sexcam sexual sexually sexuality spastic thumbzilla viagra voyeurweb voyuer whore worldsex'
  ).split(' '),
);

/** Words that mC4 allows, as they are parts of common ones in languages without spaces. */
const ALLOWED = new Set(['sm', 'グロ', '女の子', '性']);

/** Languages whose words need no border. */
const WITHOUT_SPACES = new Set(['ja', 'th', 'zh']);

/** The lists that the settings need, where languages `known` are told apart; undefined: none. */
export async function loadBadWords(
  settings: CleaningSettings,
  known: readonly string[],
): Promise<Omit<BadWords, 'seed'> | undefined> {
  const { c4_badwords } = settings;
  if (!c4_badwords) return undefined;
  const { languages, default_language } = c4_badwords;
  const lists = await readLists();
  languages?.forEach((language, i) => void checkList(language, `languages.${i}`, lists));
  checkList(default_language, 'default_language', lists);
  const wanted = known.length === 0 ? [] : (languages ?? settings.languages ?? known);
  return {
    lists: [...new Set([...wanted, default_language])]
      .filter((language) => lists.has(language))
      .map((language) => ({
        language,
        words: lists.get(language)!,
        bordered: !WITHOUT_SPACES.has(language),
      })),
    lowerCase: lowerCasePairs(),
  };
}

/** Words by the language's code; without those that hold a capital letter, which no text in lower case has. */
async function readLists(): Promise<Map<string, string[]>> {
  const { default: lists } = (await import(import.meta.resolve('naughty-words'))) as {
    default: Record<string, string[]>;
  };
  return new Map(
    Object.entries(lists).map(([name, list]) => {
      const words = list
        .map((word) => word.trim())
        .filter((word) => word === word.toLowerCase() && !ALLOWED.has(word))
        .filter((word) => name !== 'en' || !ADDED_TO_ENGLISH.has(word));
      // Filipino is Tagalog to those who tell languages apart.
      return [name === 'fil' ? 'tl' : name, words];
    }),
  );
}

function checkList(language: string, key: string, lists: ReadonlyMap<string, unknown>): void {
  if (lists.has(language)) return;
  throw new AnnealError('recipe_invalid', `cleaning.c4_badwords.${key}: there is no list for ${language}.`, {
    path: `cleaning.c4_badwords.${key}`,
    hint: `${didYouMean(language, lists.keys())}There are lists for ${[...lists.keys()].join(', ')}.`,
  });
}
