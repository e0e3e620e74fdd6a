/** C4's bad words: verdicts against datatrove's C4BadWordsFilter, which gets the same lists. */
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { ADDED_TO_ENGLISH } from '../../src/data/cleaning/bad_words.ts';
import { DataRandom } from '../../src/data/random.ts';
import { ours, peer, python } from './cleaning_peer.ts';

const naughtyWords = createRequire(import.meta.url)('naughty-words') as Record<string, string[]>;

/** The lists as the package has them, capital letters and all. */
const LISTS: Record<string, string[]> = {
  ...naughtyWords,
  en: naughtyWords.en!.filter((word) => !ADDED_TO_ENGLISH.has(word)),
};

const PLAIN = ['The', 'weather', 'in', 'Straße', 'процесс', 'ΟΔΥΣΣΕΥΣ', '漢字', 'สวัสดี', 'नमस्ते', '𐐀𐐨', '٣'];
const BORDERS = [' ', ' ', '\n', '.', '-', "'", '’', '🙂', '\u0301', '\u093F', '\u200D', '。', '\u00A0', '©'];
const INSIDE = ['', 'x', '5', '_', 'é', 'İ', 'ı', 'K', 'ß', '中', 'か', 'ไ', '²', 'Ⅷ', '𐐀'];

/** Documents in which words of a list, whole and cut, in any case, stand beside borders and others. */
function documents(list: readonly string[], count: number, seed: string): string[] {
  const random = new DataRandom('bad words', seed);
  const pick = <T>(from: readonly T[]): T => from[random.below(from.length)]!;
  const cased = (word: string) => {
    const way = random.below(5);
    if (way === 0) return word.toUpperCase();
    if (way === 1) return word.charAt(0).toUpperCase() + word.slice(1);
    if (way === 2) return [...word].slice(0, -1).join('');
    if (way === 3) return word.replace(' ', '  ');
    return word;
  };
  const beside = () => pick(random.below(3) === 0 ? BORDERS : INSIDE);
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + random.below(12) }, () =>
      random.below(8) === 0
        ? beside() + cased(pick(list)) + beside()
        : pick(PLAIN) + pick(random.below(4) === 0 ? INSIDE : BORDERS),
    ).join(''),
  );
}

/** What datatrove says of each text: dropped, kept, or null for one whose characters its Unicode has not. */
function judged(texts: readonly string[], languages: readonly (string | null)[]): (boolean | null)[] {
  const request = { filter: 'c4_badwords', documents: texts, lists: LISTS, languages, options: {} };
  return peer(request).map(([reason]) => (reason === 'unknown characters' ? null : reason !== null));
}

/** Our verdicts are the same, and some are of each kind. */
async function expectEqual(
  texts: readonly string[],
  settings: object,
  wanted: readonly (boolean | null)[],
): Promise<void> {
  const found = (await ours(settings, texts)).map(([reason]) => reason !== null);
  expect(texts.filter((_, i) => wanted[i] !== null && wanted[i] !== found[i])).toEqual([]);
  const dropped = found.filter(Boolean).length;
  expect(dropped).toBeGreaterThan(texts.length / 50);
  expect(dropped).toBeLessThan(texts.length * 0.9);
}

describe.skipIf(!python)('bad words equal datatrove', () => {
  it('every list', { timeout: 60_000 }, async () => {
    const texts = Object.entries(LISTS).map(([name, list]) => documents(list, 1000, name));
    const wanted = judged(
      texts.flat(),
      Object.keys(LISTS).flatMap((name) => Array<string>(1000).fill(name)),
    );
    for (const [i, name] of Object.keys(LISTS).entries()) {
      const c4_badwords = { default_language: name === 'fil' ? 'tl' : name };
      await expectEqual(texts[i]!, { c4_badwords }, wanted.slice(1000 * i, 1000 * (i + 1)));
    }
  });

  it('each document by the list of its language, where it is known', { timeout: 60_000 }, async () => {
    const { default: eld } = await import('eld/medium');
    const texts = Object.entries(LISTS).flatMap(([name, list]) => documents(list, 200, `detected ${name}`));
    const languages = texts.map((text) => {
      const { language } = eld.detect(text);
      return language === '' ? null : language === 'tl' ? 'fil' : language;
    });
    expect(new Set(languages).size).toBeGreaterThan(25);
    const settings = { min_language_score: 0, c4_badwords: true };
    await expectEqual(texts, settings, judged(texts, languages));
  });

  it('every character is the same kind of border', { timeout: 60_000 }, async () => {
    const texts = Array.from({ length: 0x20000 }, (_, point) => point)
      .filter((point) => point < 0xd800 || point >= 0xe000)
      .map((point) => `anus${String.fromCodePoint(point)}`);
    await expectEqual(texts, { c4_badwords: true }, judged(texts, Array<null>(texts.length).fill(null)));
  });
});
