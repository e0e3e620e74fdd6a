/** Documents of any bytes through every cleaning rule: valid UTF-8 comes out, composed, and the same for any threads. */
import { createCleaner } from '../../src/data/cleaning/cleaner.ts';
import { cleaningSettings } from '../../src/data/cleaning/settings.ts';
import { type Cleaner, loadAddon } from '../../src/native/addon.ts';
import { documentOf, TextBatchBuilder } from '../../src/native/text_batch.ts';

const SETTINGS = {
  fix_mojibake: true,
  unicode_nfc: true,
  control_characters: true,
  max_line_length: 500,
  languages: ['en', 'zh', 'de', 'fr', 'ru', 'ja'],
  gopher_repetition: {
    dup_line_frac: 0.9,
    dup_line_char_frac: 0.9,
    top_n_grams: { 2: 0.9 },
    dup_n_grams: { 5: 0.9 },
  },
  gopher_quality: { min_doc_words: 2, min_avg_word_length: 1, min_alpha_words_ratio: 0.1, min_stop_words: 0 },
  c4: { filter_no_terminal_punct: false, filter_curly_bracket: false, min_num_sentences: 1 },
  c4_badwords: { keep_fraction: 0.5 },
  fineweb: { line_punct_thr: 0, short_line_thr: 1, char_duplicates_ratio: 1 },
  pii: 'mask',
  secrets: 'mask',
};

interface Cleaners {
  alone: Cleaner;
  together: Cleaner;
  composing: Cleaner;
}
let cleaners: Promise<Cleaners> | undefined;
const builder = new TextBatchBuilder();

async function makeCleaners(): Promise<Cleaners> {
  const addon = loadAddon();
  const of = (settings: object, threads: number) =>
    createCleaner(cleaningSettings.parse(settings), { addon, threads, seed: 1, examples: 1 });
  return {
    alone: await of(SETTINGS, 1),
    together: await of(SETTINGS, 3),
    composing: await of({ unicode_nfc: true }, 1),
  };
}

/** Cleans the bytes as several documents, whose borders follow from `number`; returns the bytes that came out. */
async function run(bytes: Buffer, number: number): Promise<number> {
  cleaners ??= makeCleaners();
  const { alone, together, composing } = await cleaners;
  const step = 300 + ((number * 7919) % 4096);
  const documents = Array.from({ length: Math.ceil(bytes.length / step) }, (_, i) =>
    bytes.subarray(i * step, (i + 1) * step),
  );
  for (const document of documents) builder.add(document);
  const batch = builder.take();
  const cleaned = await alone.run(batch);
  const again = await together.run(batch);
  if (Buffer.compare(cleaned.texts.bytes, again.texts.bytes) !== 0)
    throw new Error('threads change the texts');
  if (Buffer.compare(Buffer.from(cleaned.verdicts.buffer), Buffer.from(again.verdicts.buffer)) !== 0) {
    throw new Error('threads change the verdicts');
  }
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const composed = await composing.run({ bytes: cleaned.texts.bytes, ends: cleaned.texts.ends });
  documents.forEach((_, i) => {
    decoder.decode(documentOf(cleaned.texts, i));
    if (cleaned.verdicts[i] === 0 && composed.changed[i] !== 0)
      throw new Error(`document ${i} is not composed`);
  });
  cleaned.excerpts.ends.forEach((_, i) => void decoder.decode(documentOf(cleaned.excerpts, i)));
  return cleaned.texts.bytes.length;
}

export const cleaningTarget = {
  corpus: [
    'The history of the mountain is long. It is told by the people who live there, and by those who left.\n',
    'donâ€™t â€œquoteâ€ cafÃ© Ð¿Ñ€Ð¸Ð²ÐµÑ‚ æ—¥æœ¬ Ã¢â‚¬â„¢',
    'Write to a.b+c@mail.example.org, call +44 20 7946 0958 or (212) 555-0123, ping 8.8.8.8 or 2001:4860::8888.',
    'card 4111 1111 1111 1111, account DE89 3704 0044 0532 0130 00, password = "aB3dE6gH9jK2mN5pQ8sT1v"',
    'Lorem ipsum [1] [edit] javascript { privacy policy }\r\n• one\r\n- two...\n\n\n我们今天去公园散步。今日は。e\u0301\u0323 \u1100\u1161',
  ].map((text) => Buffer.from(text)),
  words: [
    'â€',
    'Ã',
    '\u00C2\u00A0',
    '\u0301',
    '\u0323',
    '\u11A8',
    '\uFEFF',
    '\u2028',
    '\u212A',
    '...',
    '\n\n',
    '@',
    '[1]',
    '-----BEGIN RSA PRIVATE KEY-----',
    'eyJ',
    'AKIA',
    'token: ',
    '::',
    '+1 ',
    'U.S. ',
    'Arsehole',
    '”',
  ],
  run,
};
