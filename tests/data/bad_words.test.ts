/** C4's bad words as stages use them: the lists, whose they are, and which documents a share keeps. */
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { ADDED_TO_ENGLISH } from '../../src/data/cleaning/bad_words.ts';
import { createCleaner } from '../../src/data/cleaning/cleaner.ts';
import { addBatch, emptyCleaningReport } from '../../src/data/cleaning/report.ts';
import { cleaningSettings } from '../../src/data/cleaning/settings.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { textBatch } from '../../src/native/text_batch.ts';

const addon = loadAddon();

function cleanerOf(settings: object, seed = 0) {
  return createCleaner(cleaningSettings.parse(settings), { addon, threads: 2, seed });
}

function batchOf(documents: readonly string[]) {
  return textBatch(documents.map((text) => Buffer.from(text)));
}

async function dropped(settings: object, documents: readonly string[], seed = 0): Promise<boolean[]> {
  const { verdicts } = await (await cleanerOf(settings, seed)).run(batchOf(documents));
  return Array.from(verdicts, (verdict) => verdict > 0);
}

describe('lists', () => {
  /** SHA-256 of lists: the name of each and its different words in order, a line each. */
  function digest(lists: Record<string, string[]>): string {
    const hash = createHash('sha256');
    for (const [name, words] of Object.entries(lists)) {
      const different = [...new Set(words.map((word) => word.trim()))].sort();
      hash.update(`${name}\n${different.map((word) => `${word}\n`).join('')}`);
    }
    return hash.digest('hex');
  }

  it('are those that C4 and mC4 took, by the hashes of the files at their commits', () => {
    const { en, ...others } = createRequire(import.meta.url)('naughty-words') as Record<string, string[]>;
    // File en of LDNOOBW's repository at 25e679f03d96; all others at 5faf2ba42d7b.
    expect(digest({ en: en!.filter((word) => !ADDED_TO_ENGLISH.has(word)) })).toBe(
      '4fb2d9d4b530be34519f6c7f8ab59fbbe610ab6bd5cc7bd653060c5234df519c',
    );
    expect(digest(others)).toBe('7a6ca4ed43f3d68d4c54cf3d1c94bb231428b34dc683af0de9a8e6bd11de58a3');
  });

  it.each([{ languages: ['en', 'uk'] }, { default_language: 'uk' }])(
    'a language without one is refused: %j',
    async (c4_badwords) => {
      await expect(cleanerOf({ c4_badwords })).rejects.toMatchObject({
        code: 'recipe_invalid',
        hint: expect.stringMatching(/There are lists for ar, cs, .*zh\./),
      });
    },
  );
});

describe('documents', () => {
  const GERMAN = 'Das ist ein langer Satz über das Wetter in Berlin, und darin steht das Wort Arsch am Ende.';
  const ENGLISH = 'This is a long sentence about the weather in London, and it holds the word arsehole, too.';

  it('go by whole words in any case', async () => {
    const texts = ['An Arsehole.', 'arseholes', 'ARSEHOLE', 'arse hole', '(arsehole)', 'arsehole_'];
    expect(await dropped({ c4_badwords: true }, texts)).toEqual([true, false, true, false, true, false]);
  });

  it('go by the list of their language where it is known, else by the default', async () => {
    const texts = [GERMAN, ENGLISH];
    expect(await dropped({ c4_badwords: true }, texts)).toEqual([false, true]);
    expect(await dropped({ c4_badwords: { default_language: 'de' } }, texts)).toEqual([true, false]);
    expect(await dropped({ languages: ['en', 'de'], c4_badwords: true }, texts)).toEqual([true, true]);
    expect(await dropped({ c4_badwords: { languages: ['de'] } }, texts)).toEqual([true, false]);
  });

  it('show the place, and the language by which they were judged', async () => {
    const cleaner = await cleanerOf({ c4_badwords: { languages: ['de'] } });
    const batch = batchOf([`${'Wetter. '.repeat(100)}${GERMAN}`]);
    const report = emptyCleaningReport();
    addBatch(report, batch, await cleaner.run(batch), cleaner, () => 'file:1');
    expect(report.rules.c4_badwords).toMatchObject({
      dropped: 1,
      examples: [{ language: 'de', excerpt: expect.stringContaining('Arsch') }],
    });
  });

  it('stay by a hash of seed and content: the same in any order, about the share', async () => {
    const texts = Array.from({ length: 4000 }, (_, i) => `${i}: ${ENGLISH}`);
    const settings = { c4_badwords: { keep_fraction: 0.25 } };
    const first = await dropped(settings, texts, 1);
    expect(await dropped(settings, [...texts].reverse(), 1)).toEqual([...first].reverse());
    const kept = first.filter((is) => !is).length;
    // Three standard deviations of a binomial distribution are 82.
    expect(Math.abs(kept - 1000)).toBeLessThan(83);
    const other = await dropped(settings, texts, 2);
    const both = texts.filter((_, i) => !first[i] && !other[i]).length;
    expect(Math.abs(both - 250)).toBeLessThan(46);
  });
});
