/**
 * Prompts that completions are drawn for: JSONL rows with `prompt` (text, or messages) or `messages`, and further
 * fields that rewards may look at (`answer`, ...). The rows of a `generate` or `rank` stage are read as well: their
 * prompts and fields, not their responses.
 */
import { AnnealError } from '../../proto/errors.ts';
import { readLines } from '../data/lines.ts';
import { DataRandom } from '../data/random.ts';
import { chatPrompt, rawPrompt } from '../models/complete.ts';
import type { ChatMessage } from '../tokenizer/chat_template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

export interface Prompt {
  /** `file:line` */
  origin: string;
  /** Text of the prompt; of a conversation its last message. */
  text: string;
  /** The conversation, where the prompt is one. */
  messages: readonly ChatMessage[] | undefined;
  ids: Int32Array;
  /** The row's other fields. */
  fields: Readonly<Record<string, unknown>>;
}

/** Reads the prompts of files, in order. `chat` asks a plain text as the user of a conversation. */
export async function readPrompts(
  files: readonly string[],
  tokenizer: Tokenizer,
  chat: boolean,
): Promise<Prompt[]> {
  const prompts: Prompt[] = [];
  for (const file of files) {
    for await (const lines of readLines(file)) {
      for (const { bytes, number } of lines) {
        const line = bytes.toString();
        if (line.trim() !== '') prompts.push(parsePrompt(line, `${file}:${number}`, tokenizer, chat));
      }
    }
  }
  if (prompts.length === 0) {
    throw new AnnealError('data_empty', `There are no prompts in ${files.join(', ')}.`, {
      path: files[0] ?? 'dataset',
      hint: 'A row has `prompt` (or `messages`), and what the rewards need, such as `answer`.',
    });
  }
  return prompts;
}

/** The prompts that leave room for a completion of `completionLength` in rows of `maxLength`, and how many do not. */
export function fitPrompts(
  prompts: readonly Prompt[],
  maxLength: number,
  completionLength: number,
): { prompts: Prompt[]; tooLong: Prompt[] } {
  const fits = ({ ids }: Prompt) => ids.length + completionLength <= maxLength;
  return { prompts: prompts.filter(fits), tooLong: prompts.filter((prompt) => !fits(prompt)) };
}

/** An endless order of `count` prompts: shuffled anew each time that all have been asked. */
export class PromptOrder {
  readonly #count: number;
  readonly #seed: number;
  #epoch = -1;
  #order = new Uint32Array(0);

  constructor(count: number, seed: number) {
    this.#count = count;
    this.#seed = seed;
  }

  /** The prompt at a place of the order, from 0. */
  at(position: number): number {
    const epoch = Math.floor(position / this.#count);
    if (epoch !== this.#epoch) {
      this.#order = Uint32Array.from({ length: this.#count }, (_, i) => i);
      new DataRandom('prompts', this.#seed, epoch).shuffle(this.#order);
      this.#epoch = epoch;
    }
    return this.#order[position % this.#count]!;
  }
}

function parsePrompt(line: string, origin: string, tokenizer: Tokenizer, chat: boolean): Prompt {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch (cause) {
    throw new AnnealError('data_syntax', `${origin} is not valid JSON: ${(cause as Error).message}`, {
      path: origin,
      hint: 'JSONL has one JSON object a line.',
      cause,
    });
  }
  if (row === null || typeof row !== 'object' || Array.isArray(row)) {
    throw new AnnealError('data_syntax', `${origin} is not a JSON object.`, { path: origin });
  }
  const { prompt, messages, fields, ...rest } = row as Record<string, unknown>;
  const asked = messages ?? prompt;
  const own = isRecord(fields) ? fields : rest;
  if (typeof asked === 'string') {
    if (asked === '') throw badField(origin, 'prompt', 'is empty');
    const turns = [{ role: 'user', content: asked }];
    const ids = chat ? chatPrompt(tokenizer, turns) : rawPrompt(tokenizer, asked);
    return { origin, text: asked, messages: chat ? turns : undefined, ids, fields: own };
  }
  const name = messages === undefined ? 'prompt' : 'messages';
  const turns = parseMessages(asked, origin, name);
  // A conversation that ends with its answer: the answer is what is to be written anew.
  const answered = turns.at(-1)!.role === 'assistant' ? turns.at(-1)!.content : undefined;
  const open = answered === undefined ? turns : turns.slice(0, -1);
  if (open.length === 0) throw badField(origin, name, 'has nothing before the answer');
  return {
    origin,
    text: open.at(-1)!.content,
    messages: open,
    ids: chatPrompt(tokenizer, open),
    fields: answered === undefined ? own : { completion: answered, ...own },
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function parseMessages(value: unknown, origin: string, name: string): ChatMessage[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw badField(origin, name, 'must be text or a list of messages');
  }
  for (const message of value as unknown[]) {
    if (!isRecord(message) || typeof message.role !== 'string' || typeof message.content !== 'string') {
      throw badField(origin, name, 'has a message without role and content as text');
    }
  }
  return value as ChatMessage[];
}

function badField(origin: string, name: string, problem: string): AnnealError {
  return new AnnealError('data_field', `${origin}: field ${name} ${problem}.`, {
    path: `${origin}:${name}`,
    hint: 'A row has `prompt` (text, or messages) or `messages`, and further fields that rewards look at.',
  });
}
