/**
 * The loader: a prepared dataset of many shards, its rows shuffled over all of them, packed and read as microbatches,
 * as training takes them. What counts is the CPU time of a million tokens: at 1 M tokens a second that is the share
 * of a core. Ids and lengths are drawn from a seed (lengths by a power law, as documents have them).
 */
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from '../scripts/story/output.ts';
import { type Manifest, openTokenDataset, type Split } from '../src/data/dataset.ts';
import { PACKING_STRATEGIES, type PackingStrategy } from '../src/data/pack.ts';
import { DataRandom } from '../src/data/random.ts';
import { SplitWriter } from '../src/data/shards.ts';
import { documentRows, packBatch } from '../src/training/rows.ts';
import { RowStream } from '../src/training/stream.ts';
import { cpuSeconds, type DataBench, inTurn, measure, mebibytes, type Work } from './data_harness.ts';

const VOCABULARY = 32_000;
const SHARD_BYTES = 8 << 20;
const RUN = 4_096;
const [SHORTEST, LONGEST] = [64, 16_384];
/** Exponent of the lengths: a mean of about 500 tokens. */
const EXPONENT = 1.35;

const bench: DataBench = {
  description:
    'reading a prepared dataset: [DOCUMENTS = 1000000] [MEAN = 500] [STRATEGY = best_fit] [ROUNDS = 3]',

  async run(args) {
    const [documents = '1000000', mean = '500', strategy = 'best_fit', rounds = '3'] = args;
    if (!PACKING_STRATEGIES.includes(strategy as PackingStrategy)) throw new Error(`no strategy ${strategy}`);
    const dir = await preparedDataset(Number(documents), Number(mean));
    const options = { dir, strategy };
    const { ours } = await inTurn(Number(rounds), { ours: () => measure('ours', 'loader', options, 1) });
    const { notes = {} } = ours;
    const millions = ours.amount / 1e6;
    console.log(
      `| loader, ${documents} documents, ${notes.shards} shards, ${millions.toFixed(0)} M tokens, ${strategy} | ${(millions / ours.seconds).toPrecision(3)} M tokens/s | ${((Number(notes.reading_cpu) / millions) * 100).toPrecision(3)}% of a core at 1 M tokens/s | CPU time of opening ${notes.opening} s, of planning an epoch ${notes.planning} s | ${mebibytes(ours.peakBytes)} at most, index ${notes.index_mib} MiB |`,
    );
  },

  async ours({ dir, strategy }): Promise<Work> {
    const before = process.memoryUsage().rss;
    const started = cpuSeconds();
    const dataset = openTokenDataset(String(dir), 'train');
    const opened = cpuSeconds();
    const index = process.memoryUsage().rss - before;
    const rows = documentRows(dataset, 1_024, false);
    const packing = strategy as PackingStrategy;
    const stream = new RowStream(rows, { maxLength: 1_024, batchSize: 8, packing, seed: 1 });
    let cursor = { epoch: 0, index: 0 };
    stream.epochsAt(cursor);
    const planned = cpuSeconds();
    const since = performance.now();
    let tokens = 0;
    while (cursor.epoch === 0 && tokens < 200e6) {
      const { microbatches, next } = stream.group(cursor, 1, []);
      if (next.epoch > 0) break;
      for (const each of microbatches) tokens += packBatch(rows, each).tokens.length;
      cursor = stream.epochsAt(next) >= 1 ? { epoch: 1, index: 0 } : next;
    }
    const seconds = (performance.now() - since) / 1_000;
    const read = cpuSeconds();
    const shards = dataset.place(dataset.numDocuments - 1).shard.replace(/\D/g, '');
    dataset.close();
    return {
      seconds,
      amount: tokens,
      notes: {
        opening: (opened - started).toFixed(2),
        planning: (planned - opened).toFixed(2),
        reading_cpu: read - planned,
        index_mib: (index / 2 ** 20).toFixed(0),
        shards: Number(shards) + 1,
      },
    };
  },
};
export default bench;

/** A dataset with random ids, made on first use. */
async function preparedDataset(documents: number, mean: number): Promise<string> {
  const dir = join(ROOT, `.cache/bench/loader-${documents}-${mean}`);
  if (existsSync(dir)) return dir;
  const making = `${dir}.part`;
  await rm(making, { recursive: true, force: true });
  await mkdir(making, { recursive: true });
  const splits = {
    train: await writeSplit(making, 'train', documents, mean),
    validation: await writeSplit(making, 'validation', 0, mean),
  };
  const manifest: Manifest = {
    format: 'anneal-tokens',
    version: 2,
    content_hash: '',
    tokenizer_hash: '',
    vocab_size: VOCABULARY,
    token_bytes: 2,
    sources: [],
    locations: ['random'],
    splits,
  };
  await writeFile(join(making, 'manifest.json'), JSON.stringify(manifest));
  await rename(making, dir);
  return dir;
}

async function writeSplit(
  dir: string,
  split: Split,
  documents: number,
  mean: number,
): Promise<Manifest['splits']['train']> {
  const writer = await SplitWriter.create(dir, split, VOCABULARY, SHARD_BYTES);
  const random = new DataRandom('loader', documents, mean);
  const scale = mean / 500;
  for (let from = 0; from < documents; from += RUN) {
    const count = Math.min(RUN, documents - from);
    const lengths = Uint32Array.from({ length: count }, () => {
      const drawn = SHORTEST * (1 - random.next() / 2 ** 32) ** (-1 / EXPONENT);
      return Math.max(2, Math.round(Math.min(drawn, LONGEST) * 2.3 * scale));
    });
    const ids = new Uint16Array(lengths.reduce((sum, length) => sum + length, 0));
    for (let i = 0; i < ids.length; i++) ids[i] = random.next() % VOCABULARY;
    const places = Float64Array.from({ length: count }, (_, i) => from + i + 1);
    await writer.add({
      bytes: new Uint8Array(ids.buffer),
      lengths,
      places,
      locations: new Uint32Array(count),
    });
  }
  return writer.finish();
}
