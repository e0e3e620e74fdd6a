/** Cleaning of documents in memory: the published filters against datatrove's on the same documents, then all rules. */
import { createCleaner } from '../src/data/cleaning/cleaner.ts';
import { cleaningSettings } from '../src/data/cleaning/settings.ts';
import { loadAddon } from '../src/native/addon.ts';
import { allTexts, compare, corpus, corpusKind, type DataBench, type Work } from './data_harness.ts';

/** What both sides do: Gopher's repetition and quality rules, C4's and FineWeb's, in this order, as FineWeb did. */
const FILTERS = {
  gopher_repetition: true,
  gopher_quality: true,
  c4: { filter_no_terminal_punct: false },
  fineweb: true,
};
const EVERYTHING = {
  ...FILTERS,
  fix_mojibake: true,
  unicode_nfc: true,
  control_characters: true,
  max_line_length: 100_000,
  min_document_length: 10,
  languages: ['en', 'zh'],
  pii: 'mask',
  secrets: 'mask',
};

const bench: DataBench = {
  description: 'cleaning: [BYTES = 20M] [KIND = english] [ROUNDS = 3] [CORES = 1]',

  async run(args) {
    const [bytes = '20M', kind = 'english', rounds = '3', cores = '1'] = args;
    const common = {
      work: 'clean',
      options: { file: corpus({ kind: corpusKind(kind), size: bytes }), threads: Number(cores) },
      rounds: Number(rounds),
      cores: Number(cores),
    };
    await compare({
      ...common,
      what: `filters of Gopher, C4 and FineWeb, ${bytes} ${kind}, ${cores} cores`,
      ours: { rules: 'filters' },
      peers: { datatrove: {} },
      equal: 'kept',
    });
    const what = `all rules, ${bytes} ${kind}, ${cores} cores`;
    await compare({ ...common, what, ours: { rules: 'everything' } });
  },

  async ours({ file, rules, threads }): Promise<Work> {
    const { batches, amount } = await allTexts(String(file));
    const settings = cleaningSettings.parse(rules === 'filters' ? FILTERS : EVERYTHING);
    const cleaner = await createCleaner(settings, { addon: loadAddon(), threads: Number(threads), seed: 0 });
    let kept = 0;
    const started = performance.now();
    for (const batch of batches) {
      for (const verdict of (await cleaner.run(batch)).verdicts) kept += verdict === 0 ? 1 : 0;
    }
    return { seconds: (performance.now() - started) / 1000, amount, notes: { kept } };
  },
};
export default bench;
