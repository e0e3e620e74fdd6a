/** Cleaning as stages use it: settings, Unicode against this JavaScript engine, languages against `eld`, reports. */
import { describe, expect, it } from 'vitest';
import { createCleaner } from '../../src/data/cleaning/cleaner.ts';
import { loadLanguageModel } from '../../src/data/cleaning/language.ts';
import {
  addBatch,
  cleaningReportSchema,
  cleaningSections,
  emptyCleaningReport,
  mergeCleaningReports,
} from '../../src/data/cleaning/report.ts';
import { cleaningSettings } from '../../src/data/cleaning/settings.ts';
import { DataRandom } from '../../src/data/random.ts';
import { type CleanedBatch, loadAddon } from '../../src/native/addon.ts';
import { documentOf, textBatch } from '../../src/native/text_batch.ts';

const addon = loadAddon();

function batchOf(documents: readonly string[]) {
  return textBatch(documents.map((text) => Buffer.from(text)));
}

function textsOf({ texts }: CleanedBatch): string[] {
  return Array.from(texts.ends, (_, i) => Buffer.from(documentOf(texts, i)).toString());
}

function cleanerOf(settings: object, examples = 3) {
  return createCleaner(cleaningSettings.parse(settings), { addon, threads: 2, seed: 0, examples });
}

describe('settings', () => {
  it('true stands for the published thresholds', () => {
    const rules = cleaningSettings.parse({ gopher_quality: true, gopher_repetition: {}, c4: false });
    expect(rules.gopher_quality).toMatchObject({
      min_doc_words: 50,
      max_doc_words: 100_000,
      min_stop_words: 2,
    });
    expect(rules.gopher_repetition?.dup_n_grams).toEqual({
      5: 0.15,
      6: 0.14,
      7: 0.13,
      8: 0.12,
      9: 0.11,
      10: 0.1,
    });
    expect(rules.c4).toBeUndefined();
  });

  it.each(['0', '1001', '2.5', 'two', '-1'])('the addon takes no bound of n-grams of %s words', (length) => {
    const { gopher_repetition } = cleaningSettings.parse({ gopher_repetition: true });
    const rules = { gopher_repetition: { ...gopher_repetition!, top_n_grams: { [length]: 0.2 } } };
    expect(() => addon.createCleaner({ rules, threads: 1, examples: 0 })).toThrow(
      /top_n_grams.*a length from 1 to 1000/,
    );
  });

  it('one action stands for all patterns of a family', () => {
    const rules = cleaningSettings.parse({ pii: 'mask', secrets: { aws_key: 'drop' } });
    expect(rules.pii).toEqual({
      email: 'mask',
      ip: 'mask',
      phone: 'mask',
      credit_card: 'mask',
      iban: 'mask',
    });
    expect(rules.secrets).toEqual({ aws_key: 'drop' });
  });

  it('an unknown language is an error with the known ones', async () => {
    await expect(cleanerOf({ languages: ['en', 'english'] })).rejects.toMatchObject({
      code: 'recipe_invalid',
      path: 'cleaning.languages.1',
      hint: expect.stringMatching(/Known: am, ar, .*zh\./),
    });
  });

  it('a misspelt key is refused', () => {
    expect(() => cleaningSettings.parse({ gopher_quality: { min_words: 3 } })).toThrow(/min_words/);
  });
});

describe('NFC', () => {
  it('equals String.normalize for every code point and for random sequences', {
    timeout: 60_000,
  }, async () => {
    const every = Array.from({ length: 0x110000 }, (_, point) => point).filter(
      (point) => point < 0xd800 || point >= 0xe000,
    );
    // What this engine does not know yet cannot be compared: it has no category there.
    const known = every.filter((point) => !/\p{Cn}/u.test(String.fromCodePoint(point)));
    const active = known.filter((point) => {
      const char = String.fromCodePoint(point);
      return char.normalize('NFD') !== char || char.normalize('NFC') !== char || /\p{M}/u.test(char);
    });
    const random = new DataRandom('nfc');
    const sequences = Array.from({ length: 50_000 }, () =>
      Array.from({ length: 1 + random.below(12) }, () =>
        random.below(4) === 0
          ? 'aé '[random.below(3)]
          : String.fromCodePoint(active[random.below(active.length)]!),
      ).join(''),
    );
    const documents = [...known.map((point) => String.fromCodePoint(point)), ...sequences];
    const cleaned = textsOf(await (await cleanerOf({ unicode_nfc: true })).run(batchOf(documents)));
    const wrong = documents.filter((text, i) => cleaned[i] !== text.normalize('NFC'));
    expect(wrong).toEqual([]);
  });
});

describe('languages', () => {
  const PIECES = [
    'The quick brown fox jumps over the lazy dog. ',
    "I don't know what it's about; ",
    'Le renard brun saute par-dessus le chien paresseux. ',
    "C'est l'été à la plage, ",
    'Die Würde des Menschen ist unantastbar. ',
    'Здравствуйте, как ваши дела сегодня? ',
    'Ο ΟΔΥΣΣΕΑΣ γύρισε στην Ιθάκη. ',
    'ΟΔΥΣΣΕΥΣ𐐀 ',
    'İstanbul çok güzel bir şehir. ',
    '我们今天去公园散步。',
    '今日は天気がいいですね。',
    'สวัสดีครับ วันนี้ ',
    'नमस्ते, आप कैसे हैं? ',
    'שלום לכולם, מה שלומך? ',
    'Zażółć gęślą jaźń. ',
    '123 456-789 (x) 😀 \n',
    "'quoted' ’’ ",
    'Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft ',
  ];

  it('score as eld scores them', async () => {
    const { default: eld } = await import('eld/medium');
    const random = new DataRandom('languages');
    const documents = Array.from({ length: 5000 }, () =>
      Array.from({ length: 1 + random.below(20) }, () => PIECES[random.below(PIECES.length)]).join(''),
    );
    const languageModel = await loadLanguageModel();
    // A bound that nothing reaches: the measure of each document is its score. Then, whether its language is wanted.
    const scored = addon.createCleaner({
      rules: { min_language_score: 2 },
      languageModel,
      threads: 2,
      examples: 0,
    });
    const { measures, languages } = await scored.run(batchOf(documents));
    const wanted = ['en', 'de', 'zh', 'ru', 'fr'];
    const { verdicts } = await (await cleanerOf({ languages: wanted })).run(batchOf(documents));
    const seen = new Set<string>();
    documents.forEach((text, i) => {
      const found = eld.detect(text);
      seen.add(found.language);
      const score = Math.max(0, ...Object.values(found.getScores() as Record<string, number>));
      expect(measures[i], text).toBeCloseTo(score, 12);
      expect(languageModel.languages[languages[i]!] ?? '', text).toBe(found.language);
      expect(verdicts[i] === 0, `${text} is ${found.language}`).toBe(wanted.includes(found.language));
    });
    expect(seen.size).toBeGreaterThan(10);
  });

  it('name the rule and the language in examples of what they drop', async () => {
    const documents = [
      'Der Himmel über der Stadt ist heute grau und es regnet.',
      '123 456',
      'It is a short text of the English kind.',
    ];
    const rulesOf = async (settings: object) => {
      const cleaner = await cleanerOf(settings);
      const report = emptyCleaningReport();
      const batch = batchOf(documents);
      addBatch(report, batch, await cleaner.run(batch), cleaner, (i) => `file:${i + 1}`);
      return Object.fromEntries(
        Object.entries(report.rules).map(([name, { examples }]) => [
          name,
          examples.map(({ language, excerpt }) => [language, excerpt]),
        ]),
      );
    };
    const [german, none, english] = documents;
    expect(await rulesOf({ languages: ['en'], min_language_score: 0.99 })).toEqual({
      languages: [
        ['de', german],
        ['none', none],
      ],
      min_language_score: [['en', english]],
    });
  });

  it('restrict a group of filters to documents of theirs', async () => {
    const chinese = '我们今天去公园散步，天气很好。';
    const everywhere = await cleanerOf({ gopher_quality: true });
    const english = await cleanerOf({ gopher_quality: { languages: ['en'] } });
    const batch = () => batchOf([chinese, 'It is a short text of the English kind.']);
    expect([...(await everywhere.run(batch())).verdicts].map((v) => everywhere.rules[v - 1])).toEqual([
      'gopher_quality.min_doc_words',
      'gopher_quality.min_doc_words',
    ]);
    expect([...(await english.run(batch())).verdicts].map((v) => v > 0)).toEqual([false, true]);
  });
});

describe('report', () => {
  const DOCUMENTS = [
    'cafÃ© at noon, with a good friend',
    'write to me@example.org',
    'x',
    'plain text stays plain',
  ];

  it('counts and shows what was done, by rule, the same over units', async () => {
    const settings = { fix_mojibake: true, pii: 'mask', min_document_length: 5 };
    const cleaner = await cleanerOf(settings);
    const whole = emptyCleaningReport();
    const batch = batchOf(DOCUMENTS);
    addBatch(whole, batch, await cleaner.run(batch), cleaner, (i) => `file:${i + 1}`);
    const parts = await Promise.all(
      DOCUMENTS.map(async (text, i) => {
        const report = emptyCleaningReport();
        const one = batchOf([text]);
        addBatch(report, one, await cleaner.run(one), cleaner, () => `file:${i + 1}`);
        return report;
      }),
    );
    expect(mergeCleaningReports(parts)).toEqual(whole);
    expect(cleaningReportSchema.parse(whole)).toEqual({
      documents: 4,
      dropped: 1,
      changed: 2,
      bytes_in: DOCUMENTS.reduce((sum, text) => sum + Buffer.byteLength(text), 0),
      bytes_out: Buffer.byteLength(`${'café at noon, with a good friend'}write to <EMAIL>${DOCUMENTS[3]}`),
      rules: {
        fix_mojibake: {
          dropped: 0,
          changed: 1,
          changes: 1,
          examples: [{ origin: 'file:1', excerpt: 'café at noon, with a good friend' }],
        },
        'pii.email': {
          dropped: 0,
          changed: 1,
          changes: 1,
          examples: [{ origin: 'file:2', excerpt: 'write to <EMAIL>' }],
        },
        min_document_length: {
          dropped: 1,
          changed: 0,
          changes: 0,
          examples: [{ origin: 'file:3', excerpt: 'x', measure: 1 }],
        },
      },
    });
    const [facts, table, examples] = cleaningSections(whole);
    expect(facts).toMatchObject({
      kind: 'facts',
      facts: [{ value: 4 }, { value: 1, note: '25.00%' }, {}, {}, {}],
    });
    expect(table).toMatchObject({
      rows: [
        ['min_document_length', 1, '25.00%', 0, 0],
        ['fix_mojibake', 0, '0.00%', 1, 1],
        ['pii.email', 0, '0.00%', 1, 1],
      ],
    });
    expect(examples).toMatchObject({ rows: [{ label: 'min_document_length: 1' }, {}, {}] });
  });

  it('a document of which nothing is left is shown as it was', async () => {
    const cleaner = await cleanerOf({ max_line_length: 5, min_document_length: 1 });
    const report = emptyCleaningReport();
    const batch = batchOf([`${'a long line '.repeat(20)}é`]);
    addBatch(report, batch, await cleaner.run(batch), cleaner, () => 'file:1');
    expect(report.rules.min_document_length?.examples).toEqual([
      { origin: 'file:1', excerpt: 'a long line '.repeat(20).slice(0, 160), measure: 0 },
    ]);
  });

  it('examples are the first documents, whatever the threads', async () => {
    const documents = Array.from({ length: 3000 }, (_, i) => `${i} ${'many words here '.repeat(30)} a@b.org`);
    const settings = cleaningSettings.parse({ pii: 'mask' });
    const cleaned = await Promise.all(
      [1, 4].map(async (threads) =>
        (await createCleaner(settings, { addon, threads, seed: 0, examples: 2 })).run(batchOf(documents)),
      ),
    );
    expect([...cleaned[0]!.exampleDocuments]).toEqual([0, 1]);
    expect(cleaned[1]).toEqual(cleaned[0]);
  });

  it('boilerplate lines go by their hashes', async () => {
    // line_hash of native/data/line_hash.h, by the same arithmetic.
    const mask = (1n << 64n) - 1n;
    const mix = (a: bigint, b: bigint) => {
      const product = a * b;
      return (product ^ (product >> 64n)) & mask;
    };
    const line = Buffer.from('Home');
    const odd1 = 0x9e3779b97f4a7c15n;
    const odd2 = 0xc2b2ae3d27d4eb4fn;
    const tail = line.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
    const hash = mix(((4n * odd1) & mask) ^ tail ^ odd1, odd2);
    const cleaner = await createCleaner(cleaningSettings.parse({ boilerplate_lines: {} }), {
      addon,
      threads: 1,
      seed: 0,
      boilerplateLines: BigUint64Array.of(hash),
    });
    expect(textsOf(await cleaner.run(batchOf(['Home\nA text.\n  Home \nHomework'])))).toEqual([
      'A text.\nHomework',
    ]);
  });
});
