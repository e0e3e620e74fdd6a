/** Training of a byte-level BPE vocabulary from JSONL, reading included, against Hugging Face `tokenizers`. */
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { loadAddon, type SplitPattern } from '../src/native/addon.ts';
import { compare, corpus, corpusKind, type DataBench, textBatches, type Work } from './data_harness.ts';

const bench: DataBench = {
  description:
    'BPE training: [BYTES = 100M] [KIND = english] [VOCABULARY = 32000] [PATTERN = llama3] [ROUNDS = 3] [CORES]',

  async run(args) {
    const [bytes = '100M', kind = 'english', vocabulary = '32000', pattern = 'llama3', rounds = '3', cores] =
      args;
    const on = Number(cores ?? availableParallelism());
    await compare({
      what: `BPE training, ${bytes} ${kind}, ${vocabulary}, ${pattern}, ${on} cores`,
      work: 'train',
      options: {
        file: corpus({ kind: corpusKind(kind), size: bytes }),
        pattern,
        vocab_size: Number(vocabulary),
      },
      ours: { threads: on },
      peers: { tokenizers: {} },
      rounds: Number(rounds),
      cores: on,
      equal: 'merges',
    });
  },

  async ours({ file, pattern, vocab_size, threads }): Promise<Work> {
    const path = String(file);
    const trainer = loadAddon().createBpeTrainer({
      pattern: pattern as SplitPattern,
      threads: Number(threads),
    });
    const started = performance.now();
    let counting: Promise<void> | undefined;
    // As the stage does it (src/tokenizer/count_words.ts).
    for await (const batch of textBatches(path, (512 << 10) * Number(threads))) {
      await counting;
      counting = trainer.feed(batch);
    }
    await counting;
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
