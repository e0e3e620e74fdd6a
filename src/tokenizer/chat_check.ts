/**
 * The check of each supervised chat: what is scored must be what the assistant says in the row, with the token that
 * closes its turn, once the ids are decoded (a tokenizer that leaves capitals or accents out may say it in its way, with
 * the same ids). Templates may trim an answer, leave out reasoning of earlier turns and
 * write tool calls in their way; one that changes or loses an answer makes the row an error. Who reads the rows names
 * the row.
 */
import { AnnealError } from '../../proto/errors.ts';
import type { EncodedChat, EncodedSpan } from './chat.ts';
import type { ChatMessage } from './chat_template.ts';
import type { Tokenizer } from './tokenizer.ts';

/** Throws `template_changes_answer`, naming the message, where the scored text is not what the assistant says. */
export function checkAnswers(
  tokenizer: Pick<Tokenizer, 'decode' | 'encodeWithSpecials' | 'unkId'>,
  messages: readonly ChatMessage[],
  chat: EncodedChat,
): void {
  const fail = (message: number, problem: string): never => {
    throw new AnnealError(
      'template_changes_answer',
      `The chat template does not keep message ${message + 1} (${messages[message]?.role}): ${problem}.`,
      {
        path: `messages.${message}`,
        hint: 'Give a chat_template that writes what the assistant says, or mend or leave out the row.',
      },
    );
  };
  for (const span of chat.spans) {
    const ids = chat.ids.subarray(span.start, span.end);
    const decoded = tokenizer.decode(ids);
    const unknown = tokenizer.unkId !== undefined && ids.includes(tokenizer.unkId);
    if (decoded.trim() === span.text.trim() && !unknown) continue;
    if (!unknown && isSame(tokenizer.encodeWithSpecials(decoded), ids)) continue;
    fail(
      span.message ?? messages.findLastIndex(isAnswer),
      `it is rendered as ${shown(span.text)}, and its ids say ${shown(decoded)}`,
    );
  }
  // Spans whose message is not known count for each.
  const known = chat.spans.every(({ message }) => message !== undefined);
  for (const [i, message] of messages.entries()) {
    if (!isAnswer(message)) continue;
    const own = known ? chat.spans.filter((span) => span.message === i) : chat.spans;
    const problem = lost(message, own);
    if (problem !== undefined) fail(i, problem);
  }
}

const isSame = (a: Int32Array, b: Int32Array): boolean =>
  a.length === b.length && a.every((id, i) => id === b[i]);

const isAnswer = ({ role }: ChatMessage): boolean => role === 'assistant';

/** What of a message its spans lack. */
function lost(message: ChatMessage, spans: readonly EncodedSpan[]): string | undefined {
  const written = spans.map(({ text }) => text).join('');
  for (const text of texts(message.content)) {
    if (!keeps(written, text)) return `it says ${shown(text)}, scored is ${shown(written)}`;
  }
  for (const name of calledNames(message)) {
    if (!written.includes(name)) return `it calls ${name}, scored is ${shown(written)}`;
  }
  return undefined;
}

/** Whether a text was written: trimmed, and perhaps without the reasoning before its answer. */
function keeps(written: string, text: string): boolean {
  if (written.includes(text.trim())) return true;
  const end = text.lastIndexOf(REASONING_END);
  return end >= 0 && written.includes(text.slice(end + REASONING_END.length).trim());
}

const REASONING_END = '</think>';

/** The texts of a content: itself, or its parts. */
function texts(content: unknown): string[] {
  if (typeof content === 'string') return [content];
  if (!Array.isArray(content)) return [];
  return (content as unknown[]).flatMap((part) => {
    const text = (part as { text?: unknown } | null)?.text;
    return typeof text === 'string' ? [text] : [];
  });
}

/** Names of the functions that a message calls. */
function calledNames({ tool_calls }: ChatMessage): string[] {
  if (!Array.isArray(tool_calls)) return [];
  return (tool_calls as unknown[]).flatMap((call) => {
    const { function: called, name } = (call ?? {}) as { function?: { name?: unknown }; name?: unknown };
    const given = called?.name ?? name;
    return typeof given === 'string' ? [given] : [];
  });
}

function shown(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}
