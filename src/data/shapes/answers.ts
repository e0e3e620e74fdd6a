/** Prompts with answers as they stand in files, before anything is encoded. */
import type { ChatMessage, TemplateInputs } from '../../tokenizer/chat_template.ts';
import { describe, type Fail } from './errors.ts';
import { parseSide } from './messages.ts';
import type { Role } from './roles.ts';
import type { FieldRow } from './row.ts';

/** A prompt: text that is gone on from, or a conversation that is answered; with its ids if it was sampled from. */
export interface RawPrompt extends TemplateInputs {
  text: string | undefined;
  messages: ChatMessage[] | undefined;
  ids: number[] | undefined;
}

/** An answer: text, with its ids if it was sampled. */
export interface RawAnswer {
  /** Of one that calls tools, or of several messages: what they say, and their calls as JSON. */
  text: string;
  /** The messages themselves, where they have more than one text: the first and the last are the assistant's. */
  messages?: ChatMessage[];
  ids: number[] | undefined;
}

/** The most likely tokens of a teacher at each token of an answer. */
export interface TopLogProbs {
  ids: number[][];
  logProbs: number[][];
}

/** A prompt with its answers, before anything is encoded. */
export interface RawGroup {
  origin: string;
  prompt: RawPrompt;
  answers: RawAnswer[];
  /** Indices of answers, best first, equally good ones together. Of a pair: [[0], [1]]. */
  ranking: number[][];
  margin: number | undefined;
  /** Of a labelled answer. */
  desirable: boolean | undefined;
  teacher: TopLogProbs | undefined;
}

/** One side of a pair, or a completion: text, or what the assistant says after the prompt (or after all of it). */
export type Side = string | ChatMessage[];

/** The side that a role's field has. */
export function sideOf(row: FieldRow, role: 'chosen' | 'rejected' | 'completion' | 'output'): Side {
  const value = row.get(role);
  return typeof value === 'string' ? value : parseSide(value, row.field(role), row.fail);
}

/** A row's prompt; text is a user's turn where its answers are turns. */
export function promptOf(row: FieldRow, chat = false): RawPrompt {
  const ids = idsOf(row, 'prompt_ids');
  const prompt = row.has('messages') ? row.messages('messages') : row.prompt(chat);
  return typeof prompt === 'string'
    ? { text: prompt, messages: undefined, ids }
    : { text: undefined, messages: prompt, ...row.templateInputs(), ids };
}

/** The answer of a side that stands behind its prompt. */
export function answerOf(row: FieldRow, role: Role, side: Side, idsRole?: Role): RawAnswer {
  const ids = idsRole === undefined ? undefined : idsOf(row, idsRole);
  if (typeof side === 'string') return { text: side, ids };
  const [first] = side;
  if (first?.role !== 'assistant' || side.at(-1)!.role !== 'assistant')
    throw row.failRole(role, 'must begin and end with a message of the assistant, after the prompt');
  if (side.length === 1 && first.tool_calls === undefined) return { text: first.content ?? '', ids };
  if (side.length > 1 && ids !== undefined)
    throw row.failRole(idsRole!, `are of one message, and ${row.field(role)} has ${side.length}`);
  const said = ({ content, tool_calls: calls }: ChatMessage) =>
    `${content ?? ''}${calls === undefined ? '' : JSON.stringify(calls)}`;
  return { text: side.map(said).join('\n'), messages: side, ids };
}

/** The token ids of a role, where the row has them. */
export function idsOf(row: FieldRow, role: Role): number[] | undefined {
  return checkedIds(row.get(role), row.field(role), row.fail);
}

export function checkedIds(value: unknown, field: string, fail: Fail): number[] | undefined {
  if (value === undefined || value === null) return undefined;
  const fits = (id: unknown) => typeof id === 'number' && Number.isInteger(id) && id >= 0;
  if (Array.isArray(value) && value.every(fits)) return value as number[];
  throw fail(field, 'must be a list of token ids');
}

/**
 * What both sides of a pair begin with: whole messages, or text back to where a word begins. White space before the
 * word goes with the word, as byte-level vocabularies have it.
 */
export function commonPrompt(
  row: FieldRow,
  chosen: Side,
  rejected: Side,
): { prompt: RawPrompt; answers: RawAnswer[] } {
  if (typeof chosen === 'string' || typeof rejected === 'string') {
    const [a, b] = [chosen as string, rejected as string];
    const cut = commonText(a, b);
    if (cut === 0)
      throw row.failRole('prompt', 'is missing, and chosen and rejected have no common beginning');
    return {
      prompt: { text: a.slice(0, cut), messages: undefined, ids: undefined },
      answers: [a, b].map((text) => ({ text: text.slice(cut), ids: undefined })),
    };
  }
  let turns = 0;
  while (
    turns < Math.min(chosen.length, rejected.length) - 1 &&
    JSON.stringify(chosen[turns]) === JSON.stringify(rejected[turns])
  )
    turns += 1;
  if (turns === 0)
    throw row.failRole('prompt', 'is missing, and chosen and rejected begin with different messages');
  const messages = row.withSystem(chosen.slice(0, turns));
  return {
    prompt: { text: undefined, messages, ...row.templateInputs(), ids: undefined },
    answers: [
      answerOf(row, 'chosen', chosen.slice(turns), 'chosen_ids'),
      answerOf(row, 'rejected', rejected.slice(turns), 'rejected_ids'),
    ],
  };
}

function commonText(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length += 1;
  const inWord = (text: string) => length < text.length && /\S/.test(text[length]!);
  if (length > 0 && /\S/.test(a[length - 1]!) && (inWord(a) || inWord(b))) {
    const border = a.slice(0, length).search(/\s\S*$/);
    if (border >= 0) length = border;
  }
  // Between the halves of a surrogate pair there is no border.
  if (length > 0 && (a.charCodeAt(length - 1) & 0xfc00) === 0xd800) length -= 1;
  while (length > 0 && a[length - 1] === ' ') length -= 1;
  return length;
}

/** A truth; formats without types have it as text. */
export function truthOf(row: FieldRow, role: 'label'): boolean {
  const value = row.get(role);
  if (typeof value === 'boolean') return value;
  const text = typeof value === 'string' ? value.toLowerCase() : undefined;
  if (text === 'true' || text === 'false') return text === 'true';
  throw row.failRole(role, `must be true or false, is ${describe(value)}`);
}

/** A finite number, where the row has one; formats without types have it as text. */
export function numberIfAny(row: FieldRow, role: 'margin'): number | undefined {
  const value = row.get(role);
  if (value === undefined) return undefined;
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number === 'number' && Number.isFinite(number)) return number;
  throw row.failRole(role, `must be a number, is ${describe(value)}`);
}
