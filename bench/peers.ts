/**
 * What the benchmarks against PyTorch share: two processes that do the same work on request (this
 * project's engine and PyTorch), and figures. The processes take turns, so that what else the machine does falls on
 * both.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** One line of JSON in, one out. `seconds` is the time of the work itself. */
export type Request =
  | { work: 'train_step'; sequences: number; length: number }
  | { work: 'generate'; prompts: number; prompt_length: number; new_tokens: number }
  | { work: 'matrix_speed' }
  /** The next step of the work that the process was started for. */
  | { work: 'step' };
export interface Answer {
  seconds: number;
  /** Work of a step, FLOP/s of matrix_speed, bytes of a copy for checkpoints. */
  value: number;
  /** Largest resident memory of the process so far. */
  peak_bytes: number;
}

/** A process that answers requests. */
export class Peer {
  readonly name: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor(name: string, command: string, args: string[], threads: number) {
    this.name = name;
    const environment = { ...process.env, OMP_NUM_THREADS: String(threads) };
    this.#child = spawn(command, [...args, String(threads)], { env: environment });
    this.#child.stderr.pipe(process.stderr);
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
  }

  async ask(request: Request): Promise<Answer> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.name} ended before it answered`);
    return JSON.parse(value) as Answer;
  }

  end(): void {
    this.#child.stdin.end();
  }
}

/** The engine and, if ANNEAL_PEERS_PYTHON names an interpreter, PyTorch. */
export function startPeers(threads: number): Peer[] {
  const peers = [
    new Peer('anneal', process.execPath, [join(import.meta.dirname, 'engine_worker.ts')], threads),
  ];
  const python = process.env.ANNEAL_PEERS_PYTHON;
  if (python === undefined) console.log('PyTorch: left out, ANNEAL_PEERS_PYTHON is not set');
  else peers.push(new Peer('PyTorch', python, [join(import.meta.dirname, 'torch_worker.py')], threads));
  return peers;
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

/** Asks every peer in turn, `rounds` times after a warm-up; answers by peer. */
export async function takeTurns(
  peers: Peer[],
  rounds: number,
  request: Request,
): Promise<Map<Peer, Answer[]>> {
  const answers = new Map<Peer, Answer[]>(peers.map((peer) => [peer, []]));
  for (const peer of peers) await peer.ask(request);
  for (let round = 0; round < rounds; round++) {
    for (const peer of peers) answers.get(peer)!.push(await peer.ask(request));
  }
  return answers;
}
