/**
 * Generate requests of a worker. A worker that only serves answers them side by side until none is left. A training
 * stage hands the engine over between microsteps, for a slice of time: what is not answered by then goes on at the
 * next boundary, with the weights of that time; rows of older weights are computed again by the engine. So training
 * and answers both get on, and an answer may span versions of the weights. Where the stage itself is drawing (a rollout,
 * samples), requests join its passes.
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
import type { Session } from '../native/addon.ts';
import type { ServedModel } from '../stages/stage.ts';
import type { WorkerChannel } from './channel.ts';

/** Milliseconds of passes at one boundary; a pass that has begun is finished. */
export const SLICE_MS = 200;

export class GenerateQueue {
  readonly #channel: WorkerChannel;
  readonly #loads: boolean;
  readonly #waiting = new Map<string, Waiting>();
  readonly #running = new Map<string, RunningCompletion>();
  /** The model of the running stage: while it draws for itself, requests need not wait for a boundary. */
  #joined: ServedModel | undefined;
  /** Why nothing can be answered now; undefined: requests wait for `answer`. */
  #closed: AnnealError | undefined;
  #wake: (() => void) | undefined;

  /** `modelOf` gives the model of a request where the worker has several; else all go to that of `answer`. */
  constructor(channel: WorkerChannel, modelOf?: (request: GenerateRequest) => Promise<ServedModel>) {
    this.#channel = channel;
    this.#loads = modelOf !== undefined;
    channel.onGenerate((request) => {
      if (this.#closed) {
        this.#end(request.request, this.#closed);
        return;
      }
      const waiting: Waiting = { request, since: performance.now(), model: undefined };
      this.#waiting.set(request.request, waiting);
      const drawing = this.#joined !== undefined && this.#joined.session.generations.size > 0;
      if (drawing) this.#start(this.#joined!, request.request, request, waiting.since);
      else if (modelOf) void this.#load(request.request, waiting, modelOf(request));
      else this.#wake?.();
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
    this.#joined = undefined;
    for (const id of [...this.#waiting.keys(), ...this.#running.keys()]) this.#end(id, error);
    for (const running of this.#running.values()) running.cancel();
    this.#waiting.clear();
    this.#running.clear();
  }

  /** From now on requests wait. */
  open(): void {
    this.#closed = undefined;
    this.#joined = undefined;
  }

  /** Resolves when a request can be answered, or `wake` is called. */
  async arrival(): Promise<void> {
    const ready = ({ model }: Waiting) => !this.#loads || model !== undefined;
    if (![...this.#waiting.values()].some(ready))
      await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
  }

  wake(): void {
    this.#wake?.();
  }

  /**
   * Answers requests on this model, side by side, those that come meanwhile included: until none is left, or with a
   * slice until so many milliseconds have passed, but for one pass at least.
   */
  answer(model: ServedModel, sliceMs = Number.POSITIVE_INFINITY): Promise<void> {
    this.#joined = model;
    return this.#passes(model.session, model, sliceMs);
  }

  /** The same for requests whose models, all in this session, are loaded. */
  answerLoaded(session: Session): Promise<void> {
    return this.#passes(session, undefined, Number.POSITIVE_INFINITY);
  }

  /** A request can be answered from when its model is there. */
  async #load(id: string, waiting: Waiting, model: Promise<ServedModel>): Promise<void> {
    try {
      waiting.model = await model;
      this.#wake?.();
    } catch (error) {
      if (this.#waiting.delete(id)) this.#end(id, toAnnealError(error));
    }
  }

  async #passes(session: Session, given: ServedModel | undefined, sliceMs: number): Promise<void> {
    const end = performance.now() + sliceMs;
    for (;;) {
      for (const [id, { request, since, model = given }] of this.#waiting)
        if (model) this.#start(model, id, request, since);
      if (this.#running.size === 0) return;
      await this.#channel.track(session.generations.advance());
      if (performance.now() >= end) return;
    }
  }

  #start(model: ServedModel, id: string, request: GenerateRequest, since: number): void {
    this.#waiting.delete(id);
    const { prompt, messages, chat_template_kwargs: templateKwargs, sampling } = request;
    const tell = (text: string) =>
      this.#channel.send({ type: 'event', kind: 'token', body: { text }, request: id });
    try {
      const { tokenizer } = model;
      const ids = messages
        ? chatPrompt(tokenizer, messages, { templateKwargs })
        : rawPrompt(tokenizer, prompt ?? '');
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

interface Waiting {
  request: GenerateRequest;
  since: number;
  /** Undefined: that of `answer`, or still being loaded. */
  model: ServedModel | undefined;
}

/** What a request comes to that is cancelled before it began. */
const NOTHING: TextCompletion = { text: '', finish: 'cancelled', promptTokens: 0, completionTokens: 0 };
