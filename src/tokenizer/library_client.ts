/**
 * The npm package `tokenizers` (Hugging Face's library), which encodes the families that the native encoder does not
 * know. Its calls are asynchronous only, and stages ask for the ids of a text at once: so it lives in a thread, which
 * is started with the first tokenizer that needs it, and those who ask for one text wait for its answer.
 */
import { extname, join } from 'node:path';
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { TextBatch } from '../native/text_batch.ts';

/** Ids of documents end to end, and their (exclusive) ends. */
export interface LibraryIds {
  ids: Int32Array;
  ends: Float64Array;
}

/** A tokenizer.json as the package reads it. */
export interface LoadedByLibrary {
  /** Tokens by id; gaps are undefined. */
  tokens: (string | undefined)[];
  /** Ids that the post-processor puts around one text. */
  frame: { before: number[]; after: number[] };
}

/** Tokenizers are named by the hash of their tokenizer.json. */
export type LibraryRequest =
  | { ask: 'load'; hash: string; json: string }
  | { ask: 'encode'; hash: string; documents: TextBatch; withSpecials: boolean };
export type LibraryReply =
  | { loaded: LoadedByLibrary }
  | { encoded: LibraryIds }
  /** `noBinary`: the package itself cannot be loaded. */
  | { error: string; noBinary: boolean };

class LibraryThread {
  readonly #worker: Worker;
  readonly #urgent: MessageChannel['port1'];
  /** Counts the answers on the urgent port. */
  readonly #signal = new Int32Array(new SharedArrayBuffer(4));
  readonly #pending = new Map<number, PromiseWithResolvers<LibraryReply>>();
  #requests = 0;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#urgent = port1;
    this.#worker = new Worker(join(import.meta.dirname, `library_thread${extname(import.meta.filename)}`), {
      workerData: { urgent: port2, signal: this.#signal },
      transferList: [port2],
    });
    this.#worker.unref();
    this.#worker.on('message', ({ number, ...reply }: LibraryReply & { number: number }) => {
      this.#pending.get(number)!.resolve(reply);
      this.#pending.delete(number);
      if (this.#pending.size === 0) this.#worker.unref();
    });
    this.#worker.on('error', (error: Error) => {
      thread = undefined;
      for (const { reject } of this.#pending.values()) reject(error);
    });
  }

  /** Other requests may be answered first. */
  ask(request: LibraryRequest): Promise<LibraryReply> {
    const pending = Promise.withResolvers<LibraryReply>();
    this.#pending.set(this.#requests, pending);
    this.#worker.ref();
    this.#worker.postMessage({ number: this.#requests++, ...request });
    return pending.promise;
  }

  /** Waits for the answer, and lets nothing else run meanwhile. */
  askNow(request: LibraryRequest): LibraryReply {
    const answered = Atomics.load(this.#signal, 0);
    this.#urgent.postMessage(request);
    Atomics.wait(this.#signal, 0, answered);
    return (receiveMessageOnPort(this.#urgent) as { message: LibraryReply }).message;
  }
}

let thread: LibraryThread | undefined;

/** The one thread of the process. */
export function libraryThread(): LibraryThread {
  thread ??= new LibraryThread();
  return thread;
}
