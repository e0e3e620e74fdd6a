/**
 * Raw text to shards, with filters and MinHash, on a number of cores: the stage `prepare`, against `datatrove` with the
 * same rules. Our side also measures memory on inputs of several sizes (`memory`).
 */
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareStage } from '../src/stages/prepare.ts';
import { tokenizerStage } from '../src/stages/tokenizer.ts';
import { runStage } from '../tests/data/stage_context.ts';
import {
  compare,
  corpus,
  type DataBench,
  measure,
  mebibytes,
  type Options,
  type Work,
} from './data_harness.ts';

/** The rules that both sides apply. */
const RULES = { gopher_repetition: true, gopher_quality: true, c4: true };
const VOCABULARY = 32_000;

const bench: DataBench = {
  description:
    'text to shards: [BYTES = 100M] [ROUNDS = 3] [CORES = 1] | memory [BYTES = 10M 100M 1G]: what is most in memory',

  async run(args) {
    if (args[0] === 'memory') return measureMemory(args.length > 1 ? args.slice(1) : ['10M', '100M', '1G']);
    const [bytes = '100M', rounds = '3', cores = '1'] = args;
    const options = await optionsFor(bytes);
    const on = Number(cores);
    try {
      const { ours, peers } = await compare({
        what: `prepare, ${bytes} english, filters and MinHash, ${on} ${on === 1 ? 'core' : 'cores'}`,
        work: 'prepare',
        options,
        ours: { threads: on },
        peers: { datatrove: { workers: on } },
        rounds: Number(rounds),
        cores: on,
      });
      for (const [side, { notes }] of Object.entries({ ours, ...peers })) {
        console.log(`${side}: ${JSON.stringify(notes)}`);
      }
    } finally {
      rmSync(String(options.dir), { recursive: true, force: true });
    }
  },

  async ours({ file, dir, tokenizer, threads }): Promise<Work> {
    const outDir = mkdtempSync(join(String(dir), 'ours-'));
    const started = performance.now();
    const { results } = await runStage(
      prepareStage,
      {
        files: [String(file)],
        cleaning: RULES,
        dedup: { near: true },
        unit_bytes: 16 << 20,
      },
      {
        outDir,
        baseDir: String(dir),
        threads: Number(threads),
        inputs: { tokenizer: String(tokenizer) },
      },
    );
    const seconds = (performance.now() - started) / 1000;
    rmSync(outDir, { recursive: true });
    rmSync(`${outDir}.work`, { recursive: true });
    return {
      seconds,
      amount: statSync(String(file)).size,
      notes: { documents: results.documents!, tokens: Number(results.train_tokens) },
    };
  },
};
export default bench;

/** A corpus with copies in it, and a tokenizer that was trained on some of it. */
async function optionsFor(bytes: string): Promise<Options> {
  const file = corpus({ size: bytes, duplicates: 0.05 });
  const dir = mkdtempSync(join(tmpdir(), 'anneal-prepare-'));
  const tokenizer = join(dir, 'tokenizer');
  mkdirSync(tokenizer);
  await runStage(
    tokenizerStage,
    { files: [corpus({ size: '20M' })], vocab_size: VOCABULARY },
    { outDir: tokenizer, baseDir: dir },
  );
  return { file, dir, tokenizer };
}

/** Each size once, on all cores, against the smallest. */
async function measureMemory(sizes: readonly string[]): Promise<void> {
  let first: number | undefined;
  for (const bytes of sizes) {
    const options = await optionsFor(bytes);
    const ours = await measure('ours', 'prepare', { ...options, threads: 2 }, 2);
    first ??= ours.peakBytes;
    const rate = (ours.amount / 1e6 / ours.seconds).toFixed(1);
    console.log(
      `| prepare, ${bytes} english, filters and MinHash | ${mebibytes(ours.peakBytes)} | ${(ours.peakBytes / first).toFixed(2)}x | ${rate} MB/s |`,
    );
    rmSync(String(options.dir), { recursive: true, force: true });
  }
}
