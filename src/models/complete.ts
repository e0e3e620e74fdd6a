/**
 * Text from a model: prompts to ids, tokens to text as they are drawn, stop strings, cancellation. Chat, samples
 * during training and evaluation all come through here, so that they prompt a model in one way.
 */
import type { Sampling } from '../../proto/commands.ts';
import { AnnealError } from '../../proto/errors.ts';
import type { Completion } from '../native/addon.ts';
import type { ServedModel } from '../stages/stage.ts';
import { encodeChat } from '../tokenizer/chat.ts';
import type { ChatMessage } from '../tokenizer/chat_template.ts';
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
export function chatPrompt(tokenizer: Tokenizer, messages: readonly ChatMessage[]): Int32Array {
  return encodeChat(tokenizer, messages, { addGenerationPrompt: true }).ids;
}

/** Completes one prompt; `onText` gets the text in pieces as it is drawn. */
export async function complete(
  model: ServedModel,
  prompt: Int32Array,
  sampling: Sampling,
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<TextCompletion> {
  const { session, tokenizer, stopIds } = model;
  const stops = new StopStrings(sampling.stop);
  const decoder = tokenizer.decodeStream({ skipSpecials: true });
  const found = new AbortController();
  let text = '';
  let drawn = 0;
  const tell = (piece: string) => {
    if (piece === '') return;
    text += piece;
    onText(piece);
  };
  const [completion] = await session.generate(
    [prompt],
    engineSampling(sampling, stopIds, room(model, prompt)),
    (_sequence, token) => {
      if (stops.matched) return;
      drawn += 1;
      tell(stops.push(decoder.push(token)));
      if (stops.matched) found.abort();
    },
    AbortSignal.any([signal, found.signal]),
  );
  if (!stops.matched) tell(stops.push(decoder.end()));
  if (!stops.matched) tell(stops.end());
  return {
    text,
    finish: stops.matched ? 'stop' : completion!.finish,
    promptTokens: prompt.length,
    completionTokens: drawn,
  };
}

/** Completes prompts side by side, greedily or by sampling; texts without special tokens, in their order. */
export async function completeBatch(
  model: ServedModel,
  prompts: Int32Array[],
  sampling: Sampling,
  signal: AbortSignal,
): Promise<string[]> {
  const tokens = Math.min(...prompts.map((prompt) => room(model, prompt)));
  const options = engineSampling(sampling, model.stopIds, tokens);
  const completions = await model.session.generate(prompts, options, undefined, signal);
  return completions.map((completion) => {
    const stops = new StopStrings(sampling.stop);
    const text = stops.push(model.tokenizer.decode(completion.tokens, { skipSpecials: true }));
    return stops.matched ? text : text + stops.end();
  });
}

/** New tokens that fit after a prompt. */
function room(model: ServedModel, prompt: Int32Array): number {
  const tokens = model.generationLength - prompt.length;
  if (tokens >= 1) return tokens;
  throw new AnnealError(
    'bad_request',
    `The prompt has ${prompt.length} tokens; the model reads ${model.generationLength}.`,
    {
      path: 'prompt',
      hint: 'Shorten the prompt or the conversation.',
    },
  );
}

function engineSampling(sampling: Sampling, stopIds: number[], room: number) {
  return {
    maxNewTokens: Math.min(sampling.max_new_tokens, room),
    temperature: sampling.temperature,
    topK: sampling.top_k,
    topP: sampling.top_p,
    minP: sampling.min_p,
    repetitionPenalty: sampling.repetition_penalty,
    seed: sampling.seed,
    stopTokens: Int32Array.from(stopIds),
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
