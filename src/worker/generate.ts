/**
 * Generate requests of a worker: a queue that is answered whenever the engine is free, between the microsteps of a
 * training stage or by a worker that only serves.
 */
import { type AnnealError, toAnnealError } from '../../proto/errors.ts';
import type { GenerateRequest } from '../../proto/worker.ts';
import { chatPrompt, complete, rawPrompt } from '../models/complete.ts';
import type { ServedModel } from '../stages/stage.ts';
import type { WorkerChannel } from './channel.ts';

export class GenerateQueue {
  readonly #channel: WorkerChannel;
  readonly #waiting = new Map<string, { request: GenerateRequest; cancel: AbortController }>();
  /** Why nothing can be answered now; undefined: requests wait for `answerAll`. */
  #closed: AnnealError | undefined;
  #wake: (() => void) | undefined;

  constructor(channel: WorkerChannel) {
    this.#channel = channel;
    channel.onGenerate((request) => {
      if (this.#closed) {
        this.#end(request.request, this.#closed);
        return;
      }
      this.#waiting.set(request.request, { request, cancel: new AbortController() });
      this.#wake?.();
    });
    channel.onCancelGenerate((id) => this.#waiting.get(id)?.cancel.abort());
  }

  /** From now on requests are refused with this error, those that wait included. */
  close(error: AnnealError): void {
    this.#closed = error;
    for (const id of this.#waiting.keys()) this.#end(id, error);
    this.#waiting.clear();
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

  /** Answers all that wait, in their order, on this model. */
  async answerAll(model: ServedModel): Promise<void> {
    for (const [id, { request, cancel }] of this.#waiting) {
      let error: AnnealError | null = null;
      try {
        await this.#answer(model, request, cancel.signal);
      } catch (thrown) {
        error = toAnnealError(thrown);
      }
      this.#waiting.delete(id);
      this.#end(id, error);
    }
  }

  async #answer(model: ServedModel, request: GenerateRequest, signal: AbortSignal): Promise<void> {
    const started = performance.now();
    const { request: id, prompt, messages, sampling } = request;
    const ids = messages ? chatPrompt(model.tokenizer, messages) : rawPrompt(model.tokenizer, prompt ?? '');
    const tell = (text: string) =>
      this.#channel.send({ type: 'event', kind: 'token', body: { text }, request: id });
    const { text, finish, promptTokens, completionTokens } = await complete(
      model,
      ids,
      sampling,
      tell,
      signal,
    );
    this.#channel.send({
      type: 'event',
      kind: 'completion',
      body: {
        text,
        finish,
        prompt_tokens: promptTokens,
        completion_tokens: completionTokens,
        seconds: (performance.now() - started) / 1000,
      },
      request: id,
    });
  }

  #end(id: string, error: AnnealError | null): void {
    this.#channel.send({ type: 'generated', request: id, error: error?.toBody() ?? null });
  }
}
