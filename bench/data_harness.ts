/**
 * What the benchmarks of data work share: corpora, processes that do one work once and say what it took, comparisons,
 * and tables.
 *
 * Each measurement is a process of its own, so that its peak memory is that of the work; ours and the peers' take
 * turns. A work WORK is `bench/data_WORK.ts` (a `DataBench` as default export) and, for peers, `bench/data_peer_WORK.py`
 * with `run(options)`; both return a `Work`.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CORPUS_KINDS, type CorpusKind } from '../scripts/corpus/sources.ts';
import { ROOT } from '../scripts/story/output.ts';
import { readAllRows } from '../src/data/rows.ts';
import { plainRows } from '../src/data/shapes/read.ts';
import { type TextBatch, TextBatchBuilder } from '../src/native/text_batch.ts';
import { WORKER_FLAGS } from '../src/worker/flags.ts';
import { median } from './peers.ts';

/** JSON that the two sides of a work understand. */
export type Options = Record<string, string | number | boolean>;

/** What a process did. */
export interface Work {
  /** Wall time of the work itself, without loading. */
  seconds: number;
  /** Bytes, rows or whatever the work counts. */
  amount: number;
  /** Further figures, for the table's remarks. */
  notes?: Record<string, string | number>;
}

export interface Measurement extends Work {
  /** CPU time of the whole process, all threads, in seconds. */
  cpuSeconds: number;
  /** Most resident memory of the process. */
  peakBytes: number;
}

export interface DataBench {
  /** One line for the list of works, with the arguments. */
  description: string;
  /** The driver: measures and prints. */
  run(args: string[]): Promise<void>;
  /** Our side, in a process of its own. */
  ours(options: Options): Promise<Work>;
}

const CORPORA = join(ROOT, '.cache/bench');

/** The kind of corpus that an argument names. */
export function corpusKind(name: string): CorpusKind {
  const kind = CORPUS_KINDS.find((each) => each === name);
  if (kind === undefined) throw new Error(`no kind of corpus ${name}; there are ${CORPUS_KINDS.join(', ')}`);
  return kind;
}

export interface CorpusOptions {
  kind?: CorpusKind;
  /** As `--bytes` of make-corpus, `100M`; or so many documents. */
  size: string | { documents: number };
  duplicates?: number;
  /** Bytes of the shortest document. */
  shortest?: number;
}

/** Path of a generated corpus, as JSONL; made on first use. */
export function corpus({ kind = 'english', size, duplicates = 0, shortest }: CorpusOptions): string {
  const [much, flag] = typeof size === 'string' ? [size, '--bytes'] : [`${size.documents}`, '--documents'];
  const name = [
    kind,
    typeof size === 'string' ? size : `${much}documents`,
    duplicates === 0 ? '' : `copies${duplicates}`,
    shortest === undefined ? '' : `from${shortest}`,
  ];
  const path = join(CORPORA, `${name.filter(Boolean).join('-')}.jsonl`);
  if (existsSync(path)) return path;
  mkdirSync(CORPORA, { recursive: true });
  const args = ['--kind', kind, flag, much, '--out', path, '--duplicates', String(duplicates)];
  if (shortest !== undefined) args.push('--shortest', String(shortest));
  const { status } = spawnSync(process.execPath, [join(ROOT, 'scripts/make-corpus.ts'), ...args], {
    stdio: 'inherit',
  });
  if (status !== 0) throw new Error(`make-corpus could not write ${path}`);
  return path;
}

/** The documents of a corpus, in batches of about so many bytes with memory of their own. */
export async function* textBatches(file: string, bytes = 4 << 20): AsyncGenerator<TextBatch> {
  let builder = new TextBatchBuilder();
  for await (const row of readAllRows(plainRows([file]))) {
    if (row.kind !== 'text') throw new Error(`${file} holds more than text`);
    builder.add(row.text);
    if (builder.byteLength < bytes) continue;
    yield builder.take();
    builder = new TextBatchBuilder();
  }
  yield builder.take();
}

/** All of them in memory, and their bytes. */
export async function allTexts(file: string): Promise<{ batches: TextBatch[]; amount: number }> {
  const batches: TextBatch[] = [];
  for await (const batch of textBatches(file)) batches.push(batch);
  return { batches, amount: batches.reduce((sum, { bytes }) => sum + bytes.length, 0) };
}

/** CPU time of this process so far, all threads. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Python with the peers, or undefined (and a word about it). */
export function peersPython(): string | undefined {
  const python = process.env.ANNEAL_PEERS_PYTHON;
  if (python === undefined) console.log('peers: left out, ANNEAL_PEERS_PYTHON is not set');
  return python;
}

let worker: string | undefined;

/** Our side as it is shipped: compiled, so that Node does not hold a compiler beside it. */
function compiledWorker(): string {
  if (worker !== undefined) return worker;
  const tsc = join(ROOT, 'node_modules/.bin/tsc');
  const { status } = spawnSync(tsc, ['-p', join(ROOT, 'bench/tsconfig.json')], { stdio: 'inherit' });
  if (status !== 0) throw new Error('the sources do not compile');
  worker = join(ROOT, 'dist/bench/data_worker.js');
  return worker;
}

/**
 * Does a work once on one side. `cores`: the process is bound to this many, ours and the peer's alike, and told so by
 * OMP_NUM_THREADS and RAYON_NUM_THREADS.
 */
export async function measure(
  side: 'ours' | 'peer',
  work: string,
  options: Options,
  cores: number,
): Promise<Measurement> {
  const command =
    side === 'ours'
      ? [process.execPath, ...WORKER_FLAGS, compiledWorker()]
      : [peersPython() ?? 'python3', join(import.meta.dirname, 'data_peers.py')];
  const child = spawn('taskset', ['-c', `0-${cores - 1}`, ...command, work, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      OMP_NUM_THREADS: String(cores),
      RAYON_NUM_THREADS: String(cores),
      TOKENIZERS_PARALLELISM: 'true',
    },
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`${side} of ${work} ended with ${code}`);
  // The work may print on its own; the last line is the measurement.
  return JSON.parse(output.trim().split('\n').at(-1)!) as Measurement;
}

/** The median measurement by time of several rounds, the sides in turn. */
export async function inTurn<Side extends string>(
  rounds: number,
  sides: Record<Side, () => Promise<Measurement>>,
): Promise<Record<Side, Measurement>> {
  const names = Object.keys(sides) as Side[];
  const all = new Map<Side, Measurement[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) all.get(name)!.push(await sides[name]());
  }
  return Object.fromEntries(
    names.map((name) => {
      const found = all.get(name)!;
      const middle = median(found.map(({ seconds }) => seconds));
      return [name, found.find(({ seconds }) => seconds === middle)!];
    }),
  ) as Record<Side, Measurement>;
}

export interface Comparison {
  what: string;
  work: string;
  /** For both sides, and what our side alone is told. */
  options: Options;
  ours?: Options;
  /** What each peer is told besides, by its name. */
  peers?: Record<string, Options>;
  rounds: number;
  cores: number;
  /** A note that must be the same on all sides. */
  equal?: string;
}

/** Ours against each peer that is there, all in turn; prints a row in MB/s for each. */
export async function compare(comparison: Comparison): Promise<{
  ours: Measurement;
  peers: Record<string, Measurement>;
}> {
  const { what, work, options, peers = {}, rounds, cores, equal } = comparison;
  const names = Object.keys(peers).length === 0 || peersPython() === undefined ? [] : Object.keys(peers);
  const sides = {
    ours: () => measure('ours', work, { ...options, ...comparison.ours }, cores),
    ...Object.fromEntries(
      names.map((name) => [name, () => measure('peer', work, { ...options, ...peers[name] }, cores)]),
    ),
  };
  const { ours, ...measured } = await inTurn<string>(rounds, sides);
  if (names.length === 0) printRow(what, 'MB', 1e6, ours!);
  for (const [name, peer] of Object.entries(measured)) {
    printRow(`${what}, ${name}`, 'MB', 1e6, ours!, peer);
    if (equal !== undefined && peer.notes?.[equal] !== ours!.notes?.[equal]) {
      throw new Error(`${name} gives other ${equal}: ${peer.notes?.[equal]}, ours ${ours!.notes?.[equal]}`);
    }
  }
  return { ours: ours!, peers: measured };
}

/** Most resident memory of this process so far: of its own memory, not what it inherited on its start. */
export function peakBytes(): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

/** `work | ours | peer | ratio`, as bench/README.md has it; rates are in units of `unit` a second. */
export function printRow(
  what: string,
  unit: string,
  scale: number,
  ours: Measurement,
  peer?: Measurement,
): void {
  const rate = ({ amount, seconds }: Work): number => amount / scale / seconds;
  const tell = (m: Measurement): string =>
    `${rate(m).toPrecision(3)} ${unit}/s (${m.seconds.toPrecision(3)} s, ${m.cpuSeconds.toPrecision(3)} s CPU, ${mebibytes(m.peakBytes)})`;
  const cells = [what, tell(ours)];
  if (peer !== undefined) {
    cells.push(
      tell(peer),
      `${(rate(ours) / rate(peer)).toFixed(1)}x`,
      `memory ${(ours.peakBytes / peer.peakBytes).toFixed(2)}x`,
    );
  }
  console.log(`| ${cells.join(' | ')} |`);
}
