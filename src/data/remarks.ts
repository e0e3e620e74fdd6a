/**
 * What a conversation has that is trained otherwise than it may be meant, although nothing of it is wrong: told before
 * training, once a kind, with the number of rows.
 */
import type { EncodedChat } from '../tokenizer/chat.ts';
import { type ChatMessage, reasoningOf } from '../tokenizer/chat_template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** Roles that chats have. */
const ROLES = new Set(['system', 'developer', 'user', 'assistant', 'tool', 'function', 'ipython']);

/** What is told of `rows` (`3 of 10 rows`), the first of which is at `first` (`file:2: detail`). */
const TEXTS = {
  'special-texts': (rows: string, first: string) =>
    `Messages of ${rows} have the text of a special token, which becomes the token itself (first ${first}). Take it out of the data unless it is meant.`,
  roles: (rows: string, first: string) =>
    `Messages of ${rows} have a role that the chat template does not name, nor is it a usual one (first ${first}). Only the assistant's messages count as answers: rename the role unless it is meant.`,
  reasoning: (rows: string, first: string) =>
    `In ${rows} the chat template leaves out the reasoning of an answer (first ${first}): it is not trained. Many templates keep it for the last answer only.`,
};

export interface Remark {
  kind: keyof typeof TEXTS;
  detail: string;
}

/** The remarks on one row, at most one a kind. */
export function remarksOn(
  messages: readonly ChatMessage[],
  chat: Pick<EncodedChat, 'text'>,
  { specials, chatTemplate = '' }: Pick<Tokenizer, 'specials' | 'chatTemplate'>,
): Remark[] {
  const remarks: Remark[] = [];
  const special = specialText(messages, specials);
  if (special !== undefined) remarks.push({ kind: 'special-texts', detail: special });
  const strange = messages.find(({ role }) => !ROLES.has(role) && !isNamed(role, chatTemplate));
  if (strange) remarks.push({ kind: 'roles', detail: strange.role });
  const silent = messages.findIndex((message) => {
    const reasoning = message.role === 'assistant' ? reasoningOf(message) : undefined;
    return typeof reasoning === 'string' && !chat.text.includes(reasoning.trim());
  });
  if (silent >= 0) remarks.push({ kind: 'reasoning', detail: `message ${silent + 1}` });
  return remarks;
}

/** The remarks on all rows as texts, by kind. */
export function remarkTexts(
  rows: readonly { origin: string; remarks?: readonly Remark[] | undefined }[],
): { kind: string; text: string }[] {
  return Object.entries(TEXTS).flatMap(([kind, textOf]) => {
    const found = rows.flatMap(({ origin, remarks }) =>
      (remarks ?? []).filter((remark) => remark.kind === kind).map(({ detail }) => `${origin}: ${detail}`),
    );
    return found.length === 0
      ? []
      : [{ kind, text: textOf(`${found.length} of ${rows.length} rows`, found[0]!) }];
  });
}

/** One expression for all special tokens of a tokenizer. */
const specialPatterns = new WeakMap<Tokenizer['specials'], RegExp>();

/** The first special token whose text stands in a message. */
function specialText(messages: readonly ChatMessage[], specials: Tokenizer['specials']): string | undefined {
  if (specials.size === 0) return undefined;
  let pattern = specialPatterns.get(specials);
  if (!pattern) {
    pattern = new RegExp([...specials.keys()].map(RegExp.escape).join('|'), 'u');
    specialPatterns.set(specials, pattern);
  }
  for (const { content } of messages) {
    const found = typeof content === 'string' ? pattern.exec(content)?.[0] : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Whether a template has the role as a text of its own. */
function isNamed(role: string, template: string): boolean {
  return template.includes(`'${role}'`) || template.includes(`"${role}"`);
}
