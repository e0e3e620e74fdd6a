/**
 * Text from a model: prompts to ids, tokens to text as they are drawn, stop strings, cancellation. Chat, samples
 * during training and evaluation all come through here, so that they prompt a model in one way.
 */
import type { Sampling } from '../../proto/commands.ts';
import { AnnealError } from '../../proto/errors.ts';
import { constraintOf, prepareVocabulary } from '../generation/constraint.ts';
import type { Completion, GenerationRequest } from '../native/addon.ts';
import type { ServedModel } from '../stages/stage.ts';
import { encodeChat } from '../tokenizer/chat.ts';
import {
  type ChatMessage,
  type TemplateInputs,
  type TemplateKwargs,
  templateInputs,
} from '../tokenizer/chat_template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

export interface TextCompletion {
  text: string;
  finish: Completion['finish'];
  promptTokens: number;
  completionTokens: number;
}

/** Ids of a raw prompt: text that the model is to go on from, encoded as training encodes a text. */
export function rawPrompt(tokenizer: Tokenizer, text: string): Int32Array {
  if (text !== '') return tokenizer.encode(text);
  // Nothing to go on from: what stands before a text in training.
  const start = tokenizer.bosId ?? tokenizer.eosId;
  return start === undefined ? new Int32Array(0) : Int32Array.of(start);
}

/** Ids of a conversation up to where the assistant begins to answer. */
export function chatPrompt(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  inputs: TemplateInputs = {},
): Int32Array {
  return encodeChat(tokenizer, messages, { addGenerationPrompt: true, ...templateInputs(inputs) }).ids;
}

/** Ids of a question: to a model with a chat template as its user asks it, else as text to go on from. */
export function userPrompt(tokenizer: Tokenizer, text: string, templateKwargs?: TemplateKwargs): Int32Array {
  return tokenizer.chatTemplate === undefined
    ? rawPrompt(tokenizer, text)
    : chatPrompt(tokenizer, [{ role: 'user', content: text }], { templateKwargs });
}

/** Whether a model is asked in conversation: as the recipe says, and where it leaves it open not after `pretrain`. */
export function asksInChat(stageType: string, tokenizer: Tokenizer, prompting?: 'raw' | 'chat'): boolean {
  if (prompting !== undefined) return prompting === 'chat';
  return stageType !== 'pretrain' && tokenizer.chatTemplate !== undefined;
}

/** A completion under way: it gets on with each pass of its session's generation. */
export interface RunningCompletion {
  /** Ends it early: with the next pass. */
  cancel(): void;
  done: Promise<TextCompletion>;
}

/** Begins to complete one prompt; `onText` gets the text in pieces as it is drawn. */
export function startCompletion(
  model: ServedModel,
  prompt: Int32Array,
  sampling: Sampling,
  onText: (text: string) => void,
): RunningCompletion {
  const { session, tokenizer } = model;
  const stops = new StopStrings(sampling.stop);
  const decoder = tokenizer.decodeStream({ skipSpecials: true });
  const { promise: done, resolve } = Promise.withResolvers<TextCompletion>();
  let text = '';
  let drawn = 0;
  const tell = (piece: string) => {
    if (piece === '') return;
    text += piece;
    onText(piece);
  };
  const handle = session.generations.submit(generationRequest(model, prompt, sampling), {
    onToken(_sample, token) {
      if (stops.matched) return;
      drawn += 1;
      tell(stops.push(decoder.push(token)));
      if (stops.matched) handle.cancel();
    },
    onEnd(_sample, finish) {
      if (!stops.matched) tell(stops.push(decoder.end()));
      if (!stops.matched) tell(stops.end());
      resolve({
        text,
        finish: stops.matched ? 'stop' : finish,
        promptTokens: prompt.length,
        completionTokens: drawn,
      });
    },
  });
  return { cancel: () => handle.cancel(), done };
}

/** Completes one prompt at once: makes the passes that it needs. */
export async function complete(
  model: ServedModel,
  prompt: Int32Array,
  sampling: Sampling,
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<TextCompletion> {
  const running = startCompletion(model, prompt, sampling, onText);
  if (signal.aborted) running.cancel();
  signal.addEventListener('abort', running.cancel);
  try {
    let completion: TextCompletion | undefined;
    void running.done.then((value) => (completion = value));
    while (completion === undefined) await model.session.generations.advance();
    return completion;
  } finally {
    signal.removeEventListener('abort', running.cancel);
  }
}

/** Completes prompts side by side, greedily or by sampling; texts without special tokens, in their order. */
export async function completeBatch(
  model: ServedModel,
  prompts: Int32Array[],
  sampling: Sampling,
  signal: AbortSignal,
): Promise<string[]> {
  const requests = prompts.map((prompt) => generationRequest(model, prompt, sampling));
  const completions = await model.session.generate(requests, undefined, signal);
  return completions.map((completion) => {
    const stops = new StopStrings(sampling.stop);
    const text = stops.push(model.tokenizer.decode(completion.tokens, { skipSpecials: true }));
    return stops.matched ? text : text + stops.end();
  });
}

/** One sample of a prompt, as the engine is asked for it. */
function generationRequest(model: ServedModel, prompt: Int32Array, sampling: Sampling): GenerationRequest {
  const room = model.generationLength - prompt.length;
  if (room < 1) {
    throw new AnnealError(
      'bad_request',
      `The prompt has ${prompt.length} tokens; the model reads ${model.generationLength}.`,
      { path: 'prompt', hint: 'Shorten the prompt or the conversation.' },
    );
  }
  const constraint = constraintOf(sampling);
  if (constraint) prepareVocabulary(model.session, model.tokenizer, constraint);
  return {
    prompt,
    samples: 1,
    sampling: {
      maxNewTokens: Math.min(sampling.max_new_tokens, room),
      temperature: sampling.temperature,
      topK: sampling.top_k,
      topP: sampling.top_p,
      minP: sampling.min_p,
      repetitionPenalty: sampling.repetition_penalty,
      seed: sampling.seed,
      stopTokens: Int32Array.from(model.stopIds),
    },
    ...(model.adapter === undefined ? {} : { adapter: model.adapter }),
    ...(constraint ? { constraint } : {}),
  };
}

/** Lets text through up to the first stop string; holds back what may be the beginning of one. */
export class StopStrings {
  readonly #stops: readonly string[];
  #held = '';
  matched = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** More text in, text that is certain to be shown out. */
  push(piece: string): string {
    this.#held += piece;
    const at = Math.min(...this.#stops.map((stop) => this.#held.indexOf(stop)).filter((index) => index >= 0));
    if (Number.isFinite(at)) {
      this.matched = true;
      return this.#held.slice(0, at);
    }
    const safe = this.#held.length - this.#openLength();
    const out = this.#held.slice(0, safe);
    this.#held = this.#held.slice(safe);
    return out;
  }

  /** What was held back, when nothing more comes. */
  end(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }

  /** Length of the longest end of the held text that is a beginning of a stop string. */
  #openLength(): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, this.#held.length); length > longest; length--) {
        if (this.#held.endsWith(stop.slice(0, length))) {
          longest = length;
          break;
        }
      }
    }
    return longest;
  }
}
