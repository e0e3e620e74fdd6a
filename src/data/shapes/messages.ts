/**
 * Conversations as they stand in files, made one form: OpenAI's `role` and `content` (text, or a list of text parts;
 * none beside tool calls), or ShareGPT's `from` and `value`. What is null is dropped, as columns of Parquet have
 * every member in every message and templates ask whether a message has one.
 */
import { TEMPLATE_ARGUMENTS } from '../../../proto/commands.ts';
import type { ChatMessage, TemplateKwargs } from '../../tokenizer/chat_template.ts';
import { describe, type Fail, isRecord } from './errors.ts';

/** A tool as templates get it. */
export type Tool = Record<string, unknown>;

/** ShareGPT's names of those who speak; `function_call` is the assistant's as well. */
const SPEAKERS: Readonly<Record<string, string>> = {
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  assistant: 'assistant',
  chatgpt: 'assistant',
  bot: 'assistant',
  model: 'assistant',
  bard: 'assistant',
  bing: 'assistant',
  system: 'system',
  tool: 'tool',
  observation: 'tool',
  function_response: 'tool',
  function_call: 'assistant',
};

/** Whether a list of turns speaks ShareGPT. */
export function isShareGpt(value: unknown): boolean {
  const [first] = Array.isArray(value) ? (value as unknown[]) : [];
  return isRecord(first) && first.from !== undefined && first.role === undefined;
}

/** The messages of a list (or of its JSON, as columns of text have it). */
export function parseMessages(value: unknown, field: string, fail: Fail): ChatMessage[] {
  const list = parsedJson(value);
  if (!Array.isArray(list) || list.length === 0) {
    throw fail(field, `must be a list of messages, is ${describe(value)}`);
  }
  return list.map((message: unknown, i) => parseMessage(message, `${field}.${i}`, fail));
}

/** A side of a preference pair, or a completion, that is messages: a list of them, or a single one. */
export function parseSide(value: unknown, field: string, fail: Fail): ChatMessage[] {
  if (isRecord(value) && (value.role !== undefined || value.from !== undefined))
    return [parseMessage(value, field, fail)];
  if (!Array.isArray(value) || value.length === 0)
    throw fail(field, `must be text or a list of messages, is ${describe(value)}`);
  return parseMessages(value, field, fail);
}

function parseMessage(value: unknown, field: string, fail: Fail): ChatMessage {
  if (!isRecord(value)) throw fail(field, `must be an object, is ${describe(value)}`);
  if (value.from !== undefined && value.role === undefined) return parseTurn(value, field, fail);
  const { role, content, ...others } = value;
  if (typeof role !== 'string' || role === '')
    throw fail(`${field}.role`, `must be text, is ${describe(role)}`);
  const members = checkedMembers(others, field, fail);
  const calls = members.tool_calls !== undefined || members.function_call !== undefined;
  if (calls && role !== 'assistant') throw fail(`${field}.role`, `calls a tool as ${role}, not as assistant`);
  return { role, content: parseContent(content, calls, `${field}.content`, fail), ...members };
}

/** A turn of ShareGPT. */
function parseTurn(turn: Record<string, unknown>, field: string, fail: Fail): ChatMessage {
  const { from, value, ...others } = turn;
  const role = typeof from === 'string' ? SPEAKERS[from.toLowerCase()] : undefined;
  if (role === undefined || !Object.hasOwn(SPEAKERS, `${from as string}`.toLowerCase())) {
    const problem =
      typeof from === 'string'
        ? `is ${JSON.stringify(from.slice(0, 40))}`
        : `must be text, is ${describe(from)}`;
    throw fail(`${field}.from`, `${problem}; known are ${Object.keys(SPEAKERS).join(', ')}`);
  }
  const members = checkedMembers(others, field, fail);
  if (from === 'function_call') {
    const call = parsedJson(value);
    const calls = Array.isArray(call) ? call : [call];
    return { role, content: null, ...members, tool_calls: parseCalls(calls, `${field}.value`, fail) };
  }
  return { role, content: parseContent(value, false, `${field}.value`, fail), ...members };
}

/** The other members of a message: those with a form of their own checked, null ones dropped. */
function checkedMembers(others: Record<string, unknown>, field: string, fail: Fail): Record<string, unknown> {
  const members: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(others)) {
    if (value === null || value === undefined) continue;
    if (name === 'weight') {
      const weight = typeof value === 'bigint' ? Number(value) : value;
      if (weight !== 0 && weight !== 1) throw fail(`${field}.weight`, `must be 0 or 1, is ${shown(value)}`);
      members.weight = weight;
    } else if (name === 'tool_calls') {
      const calls = parsedJson(value);
      if (!Array.isArray(calls)) throw fail(`${field}.tool_calls`, `must be a list, is ${describe(value)}`);
      if (calls.length > 0) members.tool_calls = parseCalls(calls, `${field}.tool_calls`, fail);
    } else {
      // A member called __proto__ stays one like the others.
      Object.defineProperty(members, name, { value, enumerable: true, writable: true, configurable: true });
    }
  }
  return members;
}

/**
 * Tool calls, with their arguments as objects: OpenAI's API has them as text, but templates write them as JSON, and
 * would write the JSON of a text.
 */
function parseCalls(calls: readonly unknown[], field: string, fail: Fail): Record<string, unknown>[] {
  return calls.map((call, i) => {
    const at = `${field}.${i}`;
    if (!isRecord(call)) throw fail(at, `must be an object, is ${describe(call)}`);
    const bare = call.function === undefined || call.function === null;
    const made = bare ? call : call.function;
    const inside = bare ? at : `${at}.function`;
    if (!isRecord(made)) throw fail(inside, `must be an object, is ${describe(made)}`);
    const { name, arguments: given } = made;
    if (typeof name !== 'string' || name === '')
      throw fail(`${inside}.name`, `must be text, is ${describe(name)}`);
    const parsed = given === undefined || given === null || given === '' ? {} : parsedJson(given);
    if (!isRecord(parsed)) {
      throw fail(`${inside}.arguments`, `must be an object, or the JSON of one, is ${describe(given)}`);
    }
    const whole = { ...made, arguments: parsed };
    if (bare) return { type: 'function', function: whole };
    const kept = Object.entries(call).filter(([, member]) => member !== null && member !== undefined);
    return { ...Object.fromEntries(kept), function: whole };
  });
}

function parseContent(content: unknown, calls: boolean, field: string, fail: Fail): string | null {
  if (typeof content === 'string') return content;
  if (calls && (content === null || content === undefined)) return null;
  if (!Array.isArray(content)) throw fail(field, `must be text, is ${describe(content)}`);
  const texts = content.map((part: unknown, i) => {
    const at = `${field}.${i}`;
    if (typeof part === 'string') return part;
    if (!isRecord(part)) throw fail(at, `must be an object, is ${describe(part)}`);
    const { type = 'text', text } = part;
    if (type !== 'text')
      throw fail(`${at}.type`, `is ${shown(type)}: a model of text reads parts of type text`);
    if (typeof text !== 'string') throw fail(`${at}.text`, `must be text, is ${describe(text)}`);
    return text;
  });
  if (texts.length === 0) throw fail(field, 'must be text, is an empty list');
  return texts.join('\n');
}

/** The tools of a row: a list of objects with a name (or its JSON). */
export function parseTools(value: unknown, field: string, fail: Fail): Tool[] | undefined {
  if (value === undefined || value === '') return undefined;
  const list = parsedJson(value);
  if (!Array.isArray(list)) throw fail(field, `must be a list of tools, is ${describe(value)}`);
  const tools = list.map((tool: unknown, i) => {
    const at = `${field}.${i}`;
    if (!isRecord(tool)) throw fail(at, `must be an object, is ${describe(tool)}`);
    const inside = isRecord(tool.function) ? tool.function : tool;
    if (typeof inside.name !== 'string')
      throw fail(
        `${at}${inside === tool ? '' : '.function'}.name`,
        `must be text, is ${describe(inside.name)}`,
      );
    return inside === tool ? { type: 'function', function: tool } : tool;
  });
  return tools.length === 0 ? undefined : tools;
}

/** Variables for the chat template (or their JSON); what is null is none, as columns have it. */
export function parseTemplateKwargs(value: unknown, field: string, fail: Fail): TemplateKwargs | undefined {
  if (value === undefined || value === '') return undefined;
  const given = parsedJson(value);
  if (!isRecord(given)) throw fail(field, `must be an object, is ${describe(value)}`);
  const kwargs: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(given)) {
    if (member === null || member === undefined) continue;
    if (TEMPLATE_ARGUMENTS.includes(name)) throw fail(`${field}.${name}`, 'is no variable of a template');
    kwargs[name] = typeof member === 'bigint' ? Number(member) : member;
  }
  return Object.keys(kwargs).length === 0 ? undefined : kwargs;
}

/** The messages that a text is the JSON of, or undefined: text that merely looks like JSON is text. */
export function writtenMessages(text: string): unknown[] | undefined {
  const list = /^\s*\[\s*\{/.test(text) ? parsedJson(text) : undefined;
  const speaks = (each: unknown) =>
    isRecord(each) && (Object.hasOwn(each, 'content') ? 'role' in each : 'from' in each && 'value' in each);
  return Array.isArray(list) && list.length > 0 && list.every(speaks) ? list : undefined;
}

/** What a text is the JSON of, where it is a list or an object; anything else as it is. */
export function parsedJson(value: unknown): unknown {
  if (typeof value !== 'string' || !/^\s*[[{]/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** A short value as it is written, a long one by its kind. */
function shown(value: unknown): string {
  if (typeof value === 'string')
    return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : describe(value);
}
