/** Cleaning of documents in memory: the published filters against datatrove's on the same documents, then all rules. */
import { readFileSync } from 'node:fs';
import { CORPUS_KINDS, type CorpusKind } from '../scripts/corpus/sources.ts';
import { createCleaner } from '../src/data/cleaning/cleaner.ts';
import { cleaningSettings } from '../src/data/cleaning/settings.ts';
import { loadAddon } from '../src/native/addon.ts';
import { TextBatchBuilder } from '../src/native/text_batch.ts';
import { corpus, type DataBench, inTurn, measure, peersPython, printRow, type Work } from './data_harness.ts';

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

const BATCH_BYTES = 4 << 20;

const bench: DataBench = {
  description: 'cleaning: [BYTES = 20M] [KIND = english] [ROUNDS = 3] [CORES = 1]',

  async run(args) {
    const [bytes = '20M', kind = 'english', rounds = '3', cores = '1'] = args;
    if (!CORPUS_KINDS.includes(kind as CorpusKind)) throw new Error(`no kind of corpus ${kind}`);
    const on = Number(cores);
    const options = { file: corpus(kind as CorpusKind, bytes), threads: on };
    const side = (rules: string) => () => measure('ours', 'clean', { ...options, rules }, on);
    const what = `filters of Gopher, C4 and FineWeb, ${bytes} ${kind}, ${on} cores`;
    if (peersPython() === undefined) {
      printRow(what, 'MB', 1e6, (await inTurn(Number(rounds), { ours: side('filters') })).ours);
    } else {
      const peer = () => measure('peer', 'clean', options, on);
      const measured = await inTurn(Number(rounds), { ours: side('filters'), peer });
      printRow(what, 'MB', 1e6, measured.ours, measured.peer);
      if (measured.ours.notes?.kept !== measured.peer.notes?.kept) {
        throw new Error('the two sides did not keep the same number of documents');
      }
    }
    const { ours } = await inTurn(Number(rounds), { ours: side('everything') });
    printRow(`all rules, ${bytes} ${kind}, ${on} cores`, 'MB', 1e6, ours);
  },

  async ours({ file, rules, threads }): Promise<Work> {
    const documents = readFileSync(String(file), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((row) => Buffer.from((JSON.parse(row) as { text: string }).text));
    const settings = cleaningSettings.parse(rules === 'filters' ? FILTERS : EVERYTHING);
    const cleaner = await createCleaner(settings, { addon: loadAddon(), threads: Number(threads) });
    const builder = new TextBatchBuilder();
    let amount = 0;
    let kept = 0;
    const clean = async () => {
      for (const verdict of (await cleaner.run(builder.take())).verdicts) kept += verdict === 0 ? 1 : 0;
    };
    const started = performance.now();
    for (const document of documents) {
      builder.add(document);
      amount += document.length;
      if (builder.byteLength >= BATCH_BYTES) await clean();
    }
    await clean();
    return { seconds: (performance.now() - started) / 1000, amount, notes: { kept } };
  },
};
export default bench;
