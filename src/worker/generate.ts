/**
 * Generate requests of a worker. A worker that only serves answers them side by side until none is left. A training
 * stage hands the engine over between microsteps, for a slice of time: what is not answered by then goes on at the
 * next boundary, with the weights of that time; rows of older weights are computed again by the engine. So training
 * and answers both get on, and an answer may span versions of the weights.
 */
import { type AnnealError, toAnnealError } from '../../proto/errors.ts';
import type { GenerateRequest } from '../../proto/worker.ts';
import {
  chatPrompt,
  type RunningCompletion,
  rawPrompt,
  startCompletion,
  type TextCompletion,
} from '../models/complete.ts';
import type { ServedModel } from '../stages/stage.ts';
import type { WorkerChannel } from './channel.ts';

/** Milliseconds of passes at one boundary; a pass that has begun is finished. */
export const SLICE_MS = 200;

export class GenerateQueue {
  readonly #channel: WorkerChannel;
  readonly #waiting = new Map<string, { request: GenerateRequest; since: number }>();
  readonly #running = new Map<string, RunningCompletion>();
  /** Why nothing can be answered now; undefined: requests wait for `answer`. */
  #closed: AnnealError | undefined;
  #wake: (() => void) | undefined;

  constructor(channel: WorkerChannel) {
    this.#channel = channel;
    channel.onGenerate((request) => {
      if (this.#closed) {
        this.#end(request.request, this.#closed);
        return;
      }
      this.#waiting.set(request.request, { request, since: performance.now() });
      this.#wake?.();
    });
    channel.onCancelGenerate((id) => {
      this.#running.get(id)?.cancel();
      const waiting = this.#waiting.get(id);
      if (waiting && this.#waiting.delete(id)) this.#complete(id, waiting.since, NOTHING);
    });
  }

  /** From now on requests are refused with this error, those that wait or run included. */
  close(error: AnnealError): void {
    this.#closed = error;
    for (const id of [...this.#waiting.keys(), ...this.#running.keys()]) this.#end(id, error);
    for (const running of this.#running.values()) running.cancel();
    this.#waiting.clear();
    this.#running.clear();
  }

  /** From now on requests wait. */
  open(): void {
    this.#closed = undefined;
  }

  /** Resolves when a request waits, or `wake` is called. */
  async arrival(): Promise<void> {
    if (this.#waiting.size === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
  }

  wake(): void {
    this.#wake?.();
  }

  /**
   * Answers requests on this model, side by side, those that come meanwhile included: until none is left, or with a
   * slice until so many milliseconds have passed, but for one pass at least.
   */
  async answer(model: ServedModel, sliceMs = Number.POSITIVE_INFINITY): Promise<void> {
    const end = performance.now() + sliceMs;
    for (;;) {
      for (const [id, { request, since }] of this.#waiting) this.#start(model, id, request, since);
      if (this.#running.size === 0) return;
      await this.#channel.track(model.session.generations.advance());
      if (performance.now() >= end) return;
    }
  }

  #start(model: ServedModel, id: string, request: GenerateRequest, since: number): void {
    this.#waiting.delete(id);
    const { prompt, messages, sampling } = request;
    const tell = (text: string) =>
      this.#channel.send({ type: 'event', kind: 'token', body: { text }, request: id });
    try {
      const { tokenizer } = model;
      const ids = messages ? chatPrompt(tokenizer, messages) : rawPrompt(tokenizer, prompt ?? '');
      const running = startCompletion(model, ids, sampling, tell);
      this.#running.set(id, running);
      void running.done.then((completion) => {
        if (this.#running.delete(id)) this.#complete(id, since, completion);
      });
    } catch (error) {
      this.#end(id, toAnnealError(error));
    }
  }

  #complete(id: string, since: number, completion: TextCompletion): void {
    const { text, finish, promptTokens, completionTokens } = completion;
    this.#channel.send({
      type: 'event',
      kind: 'completion',
      body: {
        text,
        finish,
        prompt_tokens: promptTokens,
        completion_tokens: completionTokens,
        seconds: (performance.now() - since) / 1000,
      },
      request: id,
    });
    this.#end(id, null);
  }

  #end(id: string, error: AnnealError | null): void {
    this.#channel.send({ type: 'generated', request: id, error: error?.toBody() ?? null });
  }
}

/** What a request comes to that is cancelled before it began. */
const NOTHING: TextCompletion = { text: '', finish: 'cancelled', promptTokens: 0, completionTokens: 0 };
