/**
 * MinHash signatures of documents on one core against datasketch and rensa, by CPU time. Ours is from text to exact
 * hash and bands; of the peers only the sketches of shingles that are ready (texts, or with `hashes` their hashes), as
 * they make none. What sketches alone take of ours follows from a run with more permutations.
 */
import { loadAddon } from '../src/native/addon.ts';
import { allTexts, compare, corpus, cpuSeconds, type DataBench, type Work } from './data_harness.ts';
import { median } from './peers.ts';

/** Times as many permutations in the run that tells what permutations take. */
const MORE = 9;

const bench: DataBench = {
  description: 'MinHash on one core: [BYTES = 20M] [PERMUTATIONS = 128] [SHINGLE = 5] [ROUNDS = 3]',

  async run(args) {
    const [bytes = '20M', permutations = '128', shingle = '5', rounds = '3'] = args;
    const { ours, peers } = await compare({
      what: `MinHash, ${bytes} english, ${permutations} permutations, ${shingle}-word shingles, 1 core`,
      work: 'dedup',
      options: {
        file: corpus({ size: bytes }),
        permutations: Number(permutations),
        shingle: Number(shingle),
      },
      peers: {
        datasketch: { peer: 'datasketch' },
        'rensa R': { peer: 'rensa R' },
        'rensa R, hashes': { peer: 'rensa R', hashes: true },
        'rensa C': { peer: 'rensa C' },
      },
      rounds: Number(rounds),
      cores: 1,
    });
    console.log(`ours, sketches alone: ${ours.notes?.sketches} s`);
    for (const [name, { notes }] of Object.entries(peers)) {
      console.log(`${name}: shingling, which that leaves out: ${notes?.shingling_seconds} s`);
    }
  },

  async ours({ file, permutations, shingle }): Promise<Work> {
    const { batches, amount } = await allTexts(String(file));
    const rows = 8;
    const time = async (times: number) => {
      const bands = Math.floor((times * Number(permutations)) / rows);
      const fingerprinter = loadAddon().createFingerprinter({
        threads: 1,
        near: {
          unit: 'word',
          shingle: Number(shingle),
          permutations: times * Number(permutations),
          bands,
          rows,
          seed: 1,
          scheme: 'multiplicative',
        },
      });
      const found: number[] = [];
      // The first time it takes memory from the machine.
      for (let round = 0; round < 6; round++) {
        const started = cpuSeconds();
        for (const batch of batches) await fingerprinter.run(batch);
        if (round > 0) found.push(cpuSeconds() - started);
      }
      return median(found);
    };
    const seconds = await time(1);
    const sketches = ((await time(MORE)) - seconds) / (MORE - 1);
    return { seconds, amount, notes: { sketches: sketches.toFixed(4) } };
  },
};
export default bench;
