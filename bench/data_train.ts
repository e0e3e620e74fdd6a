/** Training of a byte-level BPE vocabulary from JSONL, reading included, against Hugging Face `tokenizers`. */
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { CORPUS_KINDS, type CorpusKind } from '../scripts/corpus/sources.ts';
import { readAllRows } from '../src/data/rows.ts';
import { plainRows } from '../src/data/shapes/read.ts';
import { loadAddon, type SplitPattern } from '../src/native/addon.ts';
import { TextBatchBuilder } from '../src/native/text_batch.ts';
import {
  corpus,
  type DataBench,
  inTurn,
  measure,
  type Options,
  peersPython,
  printRow,
  type Work,
} from './data_harness.ts';

const bench: DataBench = {
  description:
    'BPE training: [BYTES = 100M] [KIND = english] [VOCABULARY = 32000] [PATTERN = llama3] [ROUNDS = 3] [CORES]',

  async run(args) {
    const [bytes = '100M', kind = 'english', vocabulary = '32000', pattern = 'llama3', rounds = '3', cores] =
      args;
    if (!CORPUS_KINDS.includes(kind as CorpusKind)) throw new Error(`no kind of corpus ${kind}`);
    const file = corpus(kind as CorpusKind, bytes);
    const options: Options = { file, pattern, vocab_size: Number(vocabulary) };
    const on = Number(cores ?? availableParallelism());
    const ours = (): ReturnType<typeof measure> => measure('ours', 'train', { ...options, threads: on }, on);
    const what = `BPE training, ${bytes} ${kind}, ${vocabulary}, ${pattern}, ${on} cores`;
    if (peersPython() === undefined) {
      printRow(what, 'MB', 1e6, (await inTurn(Number(rounds), { ours })).ours);
      return;
    }
    const peer = (): ReturnType<typeof measure> => measure('peer', 'train', options, on);
    const measured = await inTurn(Number(rounds), { ours, peer });
    printRow(what, 'MB', 1e6, measured.ours, measured.peer);
    if (measured.ours.notes?.merges !== measured.peer.notes?.merges) {
      throw new Error('the two sides did not find the same number of merges');
    }
  },

  async ours({ file, pattern, vocab_size, threads }): Promise<Work> {
    const path = String(file);
    const trainer = loadAddon().createBpeTrainer({
      pattern: pattern as SplitPattern,
      threads: Number(threads),
    });
    const started = performance.now();
    const part = new TextBatchBuilder();
    let counting: Promise<void> | undefined;
    // As the stage does it (src/tokenizer/count_words.ts).
    for await (const row of readAllRows(plainRows([path]))) {
      if (row.kind !== 'text') throw new Error(`${path} holds more than text`);
      part.add(row.text);
      if (part.byteLength < (512 << 10) * Number(threads)) continue;
      await counting;
      counting = trainer.feed(part.take());
    }
    await counting;
    await trainer.feed(part.take());
    const counted = performance.now();
    const merges = await trainer.train({ merges: Number(vocab_size) - 256, minFrequency: 2 });
    const ended = performance.now();
    return {
      seconds: (ended - started) / 1000,
      amount: (await stat(path)).size,
      notes: { merges: merges.length / 2, counting_seconds: (counted - started) / 1000 },
    };
  },
};
export default bench;
