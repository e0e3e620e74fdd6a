/**
 * The requests that a session generates for, from whatever side they come: each caller's own, side by side in the
 * same passes. Whoever waits makes the passes; a request that was submitted without waiting gets on whenever somebody
 * makes one.
 */
import type { Completion, GenerationRequest, GenerationUpdates } from './generation.ts';

/** What is told of a request, in order, before the promise of the pass resolves. It must not throw. */
export interface GenerationListener {
  onToken(sample: number, token: number, logProb: number): void;
  onEnd(sample: number, finish: Completion['finish']): void;
}

const FINISHES = ['stop', 'length', 'cancelled'] as const;

interface NativeGeneration {
  submitGeneration(request: GenerationRequest): number;
  advanceGenerations(): Promise<GenerationUpdates>;
  cancelGeneration(id: number): void;
}

export class Generations {
  readonly #native: NativeGeneration;
  readonly #open = new Map<number, { listener: GenerationListener; samples: number }>();
  #pass: Promise<void> | undefined;

  constructor(native: NativeGeneration) {
    this.#native = native;
  }

  /** Requests that have not ended. */
  get size(): number {
    return this.#open.size;
  }

  /** Adds a request to the passes to come. Throws `invalid_argument` if it is not valid. */
  submit(request: GenerationRequest, listener: GenerationListener): { cancel(): void } {
    const id = this.#native.submitGeneration(request);
    this.#open.set(id, { listener, samples: request.samples });
    return { cancel: () => this.#native.cancelGeneration(id) };
  }

  /** Makes one pass; who asks while one is made gets that one. */
  advance(): Promise<void> {
    this.#pass ??= this.#advance().finally(() => {
      this.#pass = undefined;
    });
    return this.#pass;
  }

  async #advance(): Promise<void> {
    const { requests, samples, tokens, logProbs, finishes } = await this.#native.advanceGenerations();
    for (let i = 0; i < requests.length; i++) {
      const id = requests[i]!;
      const entry = this.#open.get(id);
      if (entry === undefined) continue;
      if (tokens[i]! >= 0) entry.listener.onToken(samples[i]!, tokens[i]!, logProbs[i]!);
      if (finishes[i]! < 0) continue;
      entry.samples--;
      if (entry.samples === 0) this.#open.delete(id);
      entry.listener.onEnd(samples[i]!, FINISHES[finishes[i]!]!);
    }
  }

  /** As `Session.generate`. */
  async generate(
    requests: readonly GenerationRequest[],
    onToken?: (request: number, sample: number, token: number) => void,
    signal?: AbortSignal,
  ): Promise<Completion[]> {
    const drawn = requests.map(({ samples }) => Array.from({ length: samples }, () => new Sample()));
    if (signal?.aborted) return drawn.flat().map((sample) => sample.completion());
    let open = drawn.flat().length;
    const thrown: unknown[] = [];
    const handles: { cancel(): void }[] = [];
    const cancel = () => {
      for (const handle of handles) handle.cancel();
    };
    try {
      for (const [index, request] of requests.entries()) {
        const samples = drawn[index]!;
        const listener: GenerationListener = {
          onToken: (sample, token, logProb) => {
            samples[sample]!.add(token, logProb);
            if (onToken === undefined || thrown.length > 0) return;
            try {
              onToken(index, sample, token);
            } catch (error) {
              thrown.push(error);
              cancel();
            }
          },
          onEnd: (sample, finish) => {
            samples[sample]!.finish = finish;
            open--;
          },
        };
        handles.push(this.submit(request, listener));
      }
    } catch (error) {
      cancel();
      throw error;
    }
    signal?.addEventListener('abort', cancel);
    try {
      while (open > 0) await this.advance();
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
    if (thrown.length > 0) throw thrown[0];
    return drawn.flat().map((sample) => sample.completion());
  }
}

class Sample {
  readonly #tokens: number[] = [];
  readonly #logProbs: number[] = [];
  finish: Completion['finish'] = 'cancelled';

  add(token: number, logProb: number): void {
    this.#tokens.push(token);
    this.#logProbs.push(logProb);
  }

  completion(): Completion {
    return {
      tokens: Int32Array.from(this.#tokens),
      logProbs: Float32Array.from(this.#logProbs),
      finish: this.finish,
    };
  }
}
