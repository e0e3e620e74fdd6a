/**
 * Prompts that completions are drawn for: rows with a question (`prompt`, `messages`, Alpaca's `instruction`), and
 * further fields that rewards may look at (`answer`, ...). The rows of a `generate` or `rank` stage are read as well:
 * their prompts and fields, not their responses.
 */
import { AnnealError } from '../../proto/errors.ts';
import { DataRandom } from '../data/random.ts';
import { isRecord, rowErrorOf } from '../data/shapes/errors.ts';
import { type RowSource, readRows } from '../data/shapes/read.ts';
import type { FieldRow } from '../data/shapes/row.ts';
import type { RowKind } from '../data/shapes/shaper.ts';
import { chatPrompt, rawPrompt } from '../models/complete.ts';
import { type ChatMessage, type TemplateInputs, templateInputs } from '../tokenizer/chat_template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

export interface Prompt extends TemplateInputs {
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

/** A prompt before any tokenizer has seen it. */
export interface RawPromptRow extends TemplateInputs {
  origin: string;
  /** Text, or a conversation that is to be answered. */
  asked: string | ChatMessage[];
  fields: Readonly<Record<string, unknown>>;
}

/** Reads the prompts of a stage's data, in order. */
export async function readPromptRows(source: RowSource): Promise<RawPromptRow[]> {
  const rows: RawPromptRow[] = [];
  for await (const { content, origin } of readRows(source, PROMPTS)) rows.push({ ...content, origin });
  return atLeastOne(rows, source);
}

function atLeastOne<Row>(rows: Row[], source: RowSource): Row[] {
  if (rows.length > 0) return rows;
  throw new AnnealError('data_empty', `There are no prompts in ${source.patterns.join(', ')}.`, {
    path: source.patterns[0] ?? source.setting,
    hint: 'A row has `prompt` (or `messages`), and what the rewards need, such as `answer`.',
  });
}

/** Prompts as a model is asked them. `chat` asks a plain text as the user of a conversation. */
export function encodePrompts(rows: readonly RawPromptRow[], tokenizer: Tokenizer, chat: boolean): Prompt[] {
  return rows.map((row) => {
    try {
      return encodePrompt(row, tokenizer, chat);
    } catch (error) {
      throw rowErrorOf(error, row.origin);
    }
  });
}

function encodePrompt(row: RawPromptRow, tokenizer: Tokenizer, chat: boolean): Prompt {
  const { origin, asked, fields } = row;
  if (typeof asked === 'string' && !chat)
    return { origin, text: asked, messages: undefined, ids: rawPrompt(tokenizer, asked), fields };
  const messages = typeof asked === 'string' ? [{ role: 'user', content: asked }] : asked;
  const inputs = templateInputs(row);
  const ids = chatPrompt(tokenizer, messages, inputs);
  return { origin, text: messages.at(-1)!.content ?? '', messages, ...inputs, ids, fields };
}

/** Reads the prompts of a stage's data as a model is asked them; one that its template refuses does not fit. */
export async function readPrompts(source: RowSource, tokenizer: Tokenizer, chat: boolean): Promise<Prompt[]> {
  const prompts: Prompt[] = [];
  for await (const row of readRows(source, PROMPTS)) {
    const { origin } = row;
    const prompt = row.attempt((content) => encodePrompt({ ...content, origin }, tokenizer, chat));
    if (prompt) prompts.push(prompt);
  }
  return atLeastOne(prompts, source);
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

export const PROMPTS: RowKind<'messages' | 'prompt' | 'instruction', Omit<RawPromptRow, 'origin'>> = {
  takes: ['messages', 'prompt', 'instruction'],
  parse: parsePrompt,
};

/** Roles that say what is asked; the row's other fields go to the rewards. */
const ASKS = [
  'messages',
  'prompt',
  'instruction',
  'input',
  'history',
  'system',
  'tools',
  'chat_template_kwargs',
  'fields',
  'output',
] as const;

function parsePrompt(
  row: FieldRow,
  shape: 'messages' | 'prompt' | 'instruction',
): Omit<RawPromptRow, 'origin'> {
  const inputs = row.templateInputs();
  const own = row.get('fields');
  const fields = isRecord(own) ? own : row.rest(ASKS);
  const asked = shape === 'messages' ? row.messages('messages') : row.prompt();
  if (asked === '') throw row.failRole('prompt', 'is empty');
  // What a row gives as the answer is what is to be written anew.
  if (shape === 'instruction') {
    const output = row.textIfAny('output');
    return { asked, ...inputs, fields: output === undefined ? fields : { completion: output, ...fields } };
  }
  const last = typeof asked === 'string' ? undefined : asked.at(-1)!;
  if (typeof asked === 'string' || last?.role !== 'assistant') return { asked, ...inputs, fields };
  const open = asked.slice(0, -1);
  if (open.length === 0) throw row.failRole(shape, 'has nothing before the answer');
  return { asked: open, ...inputs, fields: { completion: last.content ?? '', ...fields } };
}
