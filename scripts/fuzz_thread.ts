/** The thread in which scripts/fuzz.ts runs its inputs: an input that never ends is ended with it. */
import { once } from 'node:events';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { type FuzzReport, fuzz } from '../tests/fuzz/run.ts';
import { TARGETS } from '../tests/fuzz/targets.ts';

/** Inputs of a target from one number up to another, that one excluded. */
export interface Part {
  from: number;
  to: number;
}

interface Work {
  name: string;
  seed: number;
  maxInputMs: number;
  /** The number of the input at work, as main and thread share it. */
  at: Int32Array;
}

/** The thread is gone, in the middle of an input. */
export class Stopped extends Error {
  readonly number: number;

  constructor(number: number, why: string) {
    super(why);
    this.number = number;
  }
}

const LOOKS_MS = 1000;

export class FuzzThread {
  readonly #at = new Int32Array(new SharedArrayBuffer(4));
  readonly #worker: Worker;

  /** Inputs that take more than `maxInputMs` of the processor are findings. */
  constructor(name: string, seed: number, maxInputMs: number) {
    const work: Work = { name, seed, maxInputMs, at: this.#at };
    this.#worker = new Worker(new URL(import.meta.url), { workerData: work });
  }

  /** Runs a part; an input that takes `patienceMs` ends the thread, as does one that breaks it: `Stopped`. */
  async run(part: Part, patienceMs: number): Promise<FuzzReport> {
    const ended = new AbortController();
    let [number, since] = [-1, 0];
    const watch = setInterval(() => {
      const at = Atomics.load(this.#at, 0);
      if (at !== number) [number, since] = [at, Date.now()];
      else if (Date.now() - since >= patienceMs) ended.abort();
    }, LOOKS_MS);
    try {
      Atomics.store(this.#at, 0, part.from);
      this.#worker.postMessage(part);
      const [report] = (await once(this.#worker, 'message', { signal: ended.signal })) as [FuzzReport];
      return report;
    } catch (error) {
      await this.close();
      const why = ended.signal.aborted ? `never ended, in ${patienceMs / 1000} s` : String(error);
      throw new Stopped(Atomics.load(this.#at, 0), why);
    } finally {
      clearInterval(watch);
    }
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

if (parentPort !== null) {
  const { name, seed, maxInputMs, at } = workerData as Work;
  const port = parentPort;
  port.on('message', async ({ from, to }: Part) => {
    const begins = (number: number): void => {
      Atomics.store(at, 0, number);
    };
    port.postMessage(await fuzz(TARGETS[name]!, seed, from, to - from, maxInputMs, begins));
  });
}
