/**
 * Near-duplicate documents of a corpus with known copies: CPU time from text to the documents that go, and which of
 * them are right. A document should go when an earlier copy of the same document is as similar as the threshold by
 * their exact sets of shingles. `scale` instead shows time and memory of our side under several settings of
 * `memory_bytes`.
 */
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { CorpusModel } from '../scripts/corpus/model.ts';
import { sourcePassages } from '../scripts/corpus/sources.ts';
import { findDuplicates } from '../src/data/dedup/duplicates.ts';
import { nearOptions } from '../src/data/dedup/near.ts';
import { type DedupSettings, dedupSettings } from '../src/data/dedup/settings.ts';
import { loadAddon } from '../src/native/addon.ts';
import { documentOf } from '../src/native/text_batch.ts';
import {
  compare,
  corpus,
  cpuSeconds,
  type DataBench,
  measure,
  mebibytes,
  textBatches,
  type Work,
} from './data_harness.ts';

const DUPLICATES = 0.1;
const SHINGLE = 5;
const PERMUTATIONS = 128;

const bench: DataBench = {
  description:
    'near duplicates: [DOCUMENTS = 200000] [THRESHOLD = 0.8] [ROUNDS = 1] [BANDS ROWS] | scale [DOCUMENTS = 1000000] [MEMORY = 16 64 1024 (MiB)]',

  async run(args) {
    if (args[0] === 'scale')
      return scale(args[1] ?? '1000000', args.length > 2 ? args.slice(2) : ['16', '64', '1024']);
    const [documents = '200000', threshold = '0.8', rounds = '1', ...given] = args;
    const shortest = 100;
    const file = corpus({ size: { documents: Number(documents) }, duplicates: DUPLICATES, shortest });
    const dir = mkdtempSync(join(tmpdir(), 'anneal-near-'));
    const near = { threshold: Number(threshold), permutations: PERMUTATIONS };
    const own = given.length === 2 && { bands: Number(given[0]), rows: Number(given[1]) };
    const { bands, rows } = nearOptions(dedupSettings.parse({ near: { ...near, ...own } }).near!);
    const options = {
      file,
      dir,
      ...near,
      bands,
      rows,
      shingle: SHINGLE,
    };
    try {
      const right = await shouldGo(file, Number(documents), shortest, Number(threshold));
      const { ours, peers } = await compare({
        what: `near duplicates, ${documents} documents, threshold ${threshold}, ${bands} x ${rows}`,
        work: 'near',
        options,
        peers: {
          // It verifies besides, which takes it little.
          datasketch: { peer: 'datasketch' },
          // Its bands take up all permutations, and it always verifies.
          ...(bands * rows === PERMUTATIONS && { 'rensa R': { peer: 'rensa' } }),
        },
        rounds: Number(rounds),
        cores: 1,
      });
      const verified = await measure('ours', 'near', { ...options, verify: true }, 1);
      const all = { ours, 'ours, verified': verified, ...peers };
      for (const [name, { notes, seconds }] of Object.entries(all)) {
        console.log(`${name}: ${seconds.toFixed(2)} s, ${JSON.stringify(notes)}`);
        for (const suffix of ['', '-verified']) {
          const path = join(dir, `${name.split(' ')[0]}${suffix}.json`);
          if (existsSync(path)) console.log(judged(path, right));
        }
      }
    } finally {
      rmSync(dir, { recursive: true });
    }
  },

  async ours({
    file,
    dir,
    threshold,
    bands,
    rows,
    shingle,
    permutations,
    verify = false,
    memory_bytes,
  }): Promise<Work> {
    const settings = dedupSettings.parse({
      near: { threshold, permutations, shingle, bands, rows, verify },
      ...(memory_bytes !== undefined && { memory_bytes }),
    });
    const started = cpuSeconds();
    const { files, amount, reading } = await fingerprints(String(file), String(dir), settings);
    const fingerprinted = cpuSeconds();
    const { dropped, spilledBytes } = await findDuplicates(settings, [files], {
      addon: loadAddon(),
      threads: 1,
      dir: String(dir),
    });
    const found = cpuSeconds();
    writeFileSync(
      join(String(dir), `ours${verify === true ? '-verified' : ''}.json`),
      JSON.stringify([...dropped]),
    );
    return {
      seconds: found - started - reading,
      amount,
      notes: {
        documents: files.documents,
        finding: (found - fingerprinted).toFixed(2),
        spilled: spilledBytes,
      },
    };
  },
};
export default bench;

/** Fingerprints of all documents in files, and the CPU time that reading the documents took. */
async function fingerprints(file: string, dir: string, { near }: DedupSettings) {
  const fingerprinter = loadAddon().createFingerprinter({ threads: 1, near: nearOptions(near!) });
  const names = near!.verify ? (['exact', 'bands', 'signatures'] as const) : (['exact', 'bands'] as const);
  const paths = Object.fromEntries(names.map((name) => [name, join(dir, `ours.${name}`)]));
  const out = names.map((name) => ({ name, to: openSync(paths[name]!, 'w') }));
  let documents = 0;
  let amount = 0;
  let reading = 0;
  let since = cpuSeconds();
  for await (const batch of textBatches(file)) {
    reading += cpuSeconds() - since;
    const prints = await fingerprinter.run(batch);
    for (const { name, to } of out) writeSync(to, new Uint8Array(prints[name].buffer));
    documents += batch.ends.length;
    amount += batch.bytes.length;
    since = cpuSeconds();
  }
  for (const { to } of out) closeSync(to);
  return { files: { exact: paths.exact!, ...paths, documents, group: 0 }, amount, reading };
}

/** By document: whether an earlier one is as similar as the threshold. Of a corpus that `corpus` made. */
async function shouldGo(
  file: string,
  documents: number,
  shortest: number,
  threshold: number,
): Promise<Uint8Array> {
  const model = new CorpusModel('english', await sourcePassages('english'), {
    seed: 1,
    duplicates: DUPLICATES,
    shortest,
  });
  const families = new Map<number, number[]>();
  for (let i = 0; i < documents; i++) {
    const origin = model.original(i);
    const family = families.get(origin);
    if (family === undefined) families.set(origin, [i]);
    else family.push(i);
  }
  const related = new Set([...families.values()].filter(({ length }) => length > 1).flat());
  const numbers = new Map<string, number>();
  const sets = new Map<number, Uint32Array>();
  let first = 0;
  for await (const batch of textBatches(file)) {
    for (let i = 0; i < batch.ends.length; i++) {
      if (!related.has(first + i)) continue;
      sets.set(first + i, shingleNumbers(new TextDecoder().decode(documentOf(batch, i)), numbers));
    }
    first += batch.ends.length;
  }
  const right = new Uint8Array(documents);
  for (const family of families.values()) {
    for (const [at, document] of family.entries()) {
      const set = sets.get(document);
      if (family.slice(0, at).some((earlier) => jaccard(sets.get(earlier)!, set!) >= threshold))
        right[document] = 1;
    }
  }
  return right;
}

/** The shingles of a text, as numbers in rising order. */
function shingleNumbers(text: string, numbers: Map<string, number>): Uint32Array {
  const words = text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  const found = new Set<number>();
  for (let i = 0; i < Math.max(1, words.length - SHINGLE + 1); i++) {
    const shingle = words.slice(i, i + SHINGLE).join(' ');
    let number = numbers.get(shingle);
    if (number === undefined) {
      number = numbers.size;
      numbers.set(shingle, number);
    }
    found.add(number);
  }
  return Uint32Array.from(found).sort();
}

function jaccard(a: Uint32Array, b: Uint32Array): number {
  let both = 0;
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [left, right] = [a[i]!, b[j]!];
    if (left === right) both++;
    if (left <= right) i++;
    if (right <= left) j++;
  }
  return both / (a.length + b.length - both);
}

/** `path`: the documents that went, as JSON. */
function judged(path: string, right: Uint8Array): string {
  const dropped = JSON.parse(readFileSync(path, 'utf8')) as number[];
  const hits = dropped.filter((document) => right[document] === 1).length;
  const all = right.reduce((sum, each) => sum + each, 0);
  return `  ${basename(path)}: ${dropped.length} go, ${all} should; recall ${(hits / all).toFixed(4)}, precision ${(hits / dropped.length).toFixed(4)}`;
}

/** Our side alone, with less and less memory. */
async function scale(documents: string, memory: readonly string[]): Promise<void> {
  const file = corpus({ size: { documents: Number(documents) }, duplicates: DUPLICATES, shortest: 30 });
  for (const mib of memory) {
    const dir = mkdtempSync(join(tmpdir(), 'anneal-near-'));
    try {
      const options = {
        file,
        dir,
        threshold: 0.8,
        permutations: PERMUTATIONS,
        shingle: SHINGLE,
      };
      const { bands, rows } = nearOptions(dedupSettings.parse({ near: { threshold: 0.8 } }).near!);
      const ours = await measure(
        'ours',
        'near',
        { ...options, bands, rows, memory_bytes: Number(mib) * 2 ** 20 },
        1,
      );
      const { finding, spilled } = ours.notes!;
      console.log(
        `| near duplicates, ${documents} documents, ${(ours.amount / 1e6).toFixed(0)} MB, memory_bytes ${mib} MiB | ${ours.seconds.toFixed(1)} s of CPU, ${finding} s of it finding | ${mebibytes(ours.peakBytes)} at most | ${mebibytes(Number(spilled))} spilled |`,
      );
    } finally {
      rmSync(dir, { recursive: true });
    }
  }
}
