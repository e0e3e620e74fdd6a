/**
 * What the benchmarks of data work share: corpora, processes that do one work once and say what it took, and tables.
 *
 * Each measurement is a process of its own, so that its peak memory is that of the work; ours and the peers' take
 * turns. A work WORK is `bench/data_WORK.ts` (a `DataBench` as default export) and, for peers, `bench/data_peer_WORK.py`
 * with `run(options)`; both return a `Work`.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CorpusKind } from '../scripts/corpus/sources.ts';
import { ROOT } from '../scripts/story/output.ts';
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

/** Path of a generated corpus; made on first use. `bytes` as `--bytes` of make-corpus: `100M`. */
export function corpus(
  kind: CorpusKind,
  bytes: string,
  options: { format?: 'jsonl' | 'text'; duplicates?: number } = {},
): string {
  const { format = 'jsonl', duplicates = 0 } = options;
  const name = `${kind}-${bytes}${duplicates === 0 ? '' : `-copies${duplicates}`}`;
  const path = join(CORPORA, `${name}.${format === 'jsonl' ? 'jsonl' : 'txt'}`);
  if (existsSync(path)) return path;
  mkdirSync(CORPORA, { recursive: true });
  const args = ['--kind', kind, '--bytes', bytes, '--out', path, '--format', format];
  const { status } = spawnSync(
    process.execPath,
    [join(ROOT, 'scripts/make-corpus.ts'), ...args, '--duplicates', String(duplicates)],
    { stdio: 'inherit' },
  );
  if (status !== 0) throw new Error(`make-corpus could not write ${path}`);
  return path;
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
