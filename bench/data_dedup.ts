/**
 * MinHash signatures of documents on one core against datasketch and rensa, by CPU time. Ours is from text to exact
 * hash and bands; of the peers only the sketches of shingles that are ready, as they make none.
 */
import { readAllRows } from '../src/data/rows.ts';
import { plainRows } from '../src/data/shapes/read.ts';
import { loadAddon } from '../src/native/addon.ts';
import { type TextBatch, TextBatchBuilder } from '../src/native/text_batch.ts';
import {
  corpus,
  type DataBench,
  inTurn,
  type Measurement,
  measure,
  type Options,
  peersPython,
  printRow,
  type Work,
} from './data_harness.ts';

const PEERS = ['datasketch', 'rensa R', 'rensa C'] as const;

const bench: DataBench = {
  description: 'MinHash on one core: [BYTES = 20M] [PERMUTATIONS = 128] [SHINGLE = 5] [ROUNDS = 3]',

  async run(args) {
    const [bytes = '20M', permutations = '128', shingle = '5', rounds = '3'] = args;
    const options = {
      file: corpus('english', bytes),
      permutations: Number(permutations),
      shingle: Number(shingle),
    };
    const peers = peersPython() === undefined ? [] : PEERS;
    const sides: Record<string, () => Promise<Measurement>> = {
      ours: () => measure('ours', 'dedup', options, 1),
    };
    for (const peer of peers) sides[peer] = () => measure('peer', 'dedup', { ...options, peer }, 1);
    const measured = await inTurn(Number(rounds), sides);
    const what = `MinHash, ${bytes} english, ${permutations} permutations, ${shingle}-word shingles, 1 core`;
    if (peers.length === 0) printRow(what, 'MB', 1e6, measured.ours!);
    for (const peer of peers) {
      printRow(`${what}, ${peer}`, 'MB', 1e6, measured.ours!, measured[peer]!);
      console.log(`shingling, which that leaves out: ${measured[peer]!.notes?.shingling_seconds} s`);
    }
  },

  async ours({ file, permutations, shingle }: Options): Promise<Work> {
    const batches: TextBatch[] = [];
    const builder = new TextBatchBuilder();
    let amount = 0;
    const take = () => {
      const { bytes, ends } = builder.take();
      batches.push({ bytes: bytes.slice(), ends: ends.slice() });
      amount += bytes.length;
    };
    for await (const row of readAllRows(plainRows([String(file)]))) {
      if (row.kind !== 'text') throw new Error(`${file} holds more than text`);
      builder.add(row.text);
      if (builder.byteLength >= 4 << 20) take();
    }
    take();
    const rows = 8;
    const fingerprinter = loadAddon().createFingerprinter({
      threads: 1,
      near: {
        unit: 'word',
        shingle: Number(shingle),
        permutations: Number(permutations),
        bands: Math.floor(Number(permutations) / rows),
        rows,
        seed: 1,
        scheme: 'multiplicative',
      },
    });
    const started = process.cpuUsage();
    let documents = 0;
    for (const batch of batches) {
      documents += (await fingerprinter.run(batch)).exact.length / 2;
    }
    const { user, system } = process.cpuUsage(started);
    return { seconds: (user + system) / 1e6, amount, notes: { documents } };
  },
};
export default bench;
