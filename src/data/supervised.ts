/**
 * Supervised rows: conversations, prompts with completions, or plain text as ids with scored positions.
 *
 * Prompt and answer are encoded apart and joined as ids. A completion is closed by EOS, an assistant turn by what
 * the chat template puts there; both closing tokens are scored, so that a model learns to stop. Each conversation is
 * checked: what is scored must be what the assistant says in the row.
 */
import { type EncodedChat, encodeChat, unknownAnswer } from '../tokenizer/chat.ts';
import { checkAnswers } from '../tokenizer/chat_check.ts';
import { templateInputs } from '../tokenizer/chat_template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { SupervisedRow } from './dataset.ts';
import { remarksOn } from './remarks.ts';
import { type RowContent, SUPERVISED } from './shapes/content.ts';
import { type RowSource, readRows } from './shapes/read.ts';

/** Which answers of a conversation count: all, the last, or those with `weight: 1`; never one with `weight: 0`. */
export const LOSS_ON = ['all', 'last', 'weight'] as const;

/** Which tokens count, by the names that TRL's SFT settings have. */
export interface LossSettings {
  loss_on: (typeof LOSS_ON)[number];
  /** Conversations: only what the assistant writes; else everything. */
  assistant_only_loss: boolean;
  /** Prompt and completion: only the completion; else everything. */
  completion_only_loss: boolean;
}

/** Reads and encodes the rows of a stage's data, in order. */
export async function* readSupervised(
  source: RowSource,
  tokenizer: Tokenizer,
  settings: LossSettings,
): AsyncGenerator<SupervisedRow> {
  for await (const row of readRows(source, SUPERVISED)) {
    const encoded = row.attempt((content) => encodeRow(content, tokenizer, settings));
    if (encoded) yield { ...encoded, origin: row.origin };
  }
}

/** Encodes one row; plain text is scored throughout. */
export function encodeRow(
  row: RowContent,
  tokenizer: Tokenizer,
  settings: LossSettings,
): Omit<SupervisedRow, 'origin'> {
  if (row.kind === 'messages') {
    const chat = encodeChat(tokenizer, row.messages, templateInputs(row));
    checkAnswers(tokenizer, row.messages, chat);
    return {
      ids: chat.ids,
      scored: scoredOf(row, chat, settings),
      remarks: remarksOn(row.messages, chat, tokenizer),
    };
  }
  const prompt = row.kind === 'completion' ? tokenizer.encode(row.prompt) : new Int32Array(0);
  const answer = tokenizer.encode(row.kind === 'completion' ? row.completion : row.text);
  const close = tokenizer.eosId === undefined ? [] : [tokenizer.eosId];
  const ids = new Int32Array(prompt.length + answer.length + close.length);
  ids.set(prompt);
  ids.set(answer, prompt.length);
  ids.set(close, prompt.length + answer.length);
  const scored = all(ids.length);
  if (settings.completion_only_loss) scored.fill(0, 0, prompt.length);
  return { ids, scored };
}

/** Which tokens of a conversation count. */
function scoredOf(
  { messages, completionFrom }: Extract<RowContent, { kind: 'messages' }>,
  chat: EncodedChat,
  settings: LossSettings,
): Uint8Array {
  const first = settings.completion_only_loss ? (completionFrom ?? 0) : 0;
  if (!settings.assistant_only_loss) {
    const start = chat.spans.find(({ message }) => message !== undefined && message >= first)?.start;
    const scored = all(chat.ids.length);
    return first > 0 ? scored.fill(0, 0, start) : scored;
  }
  const last = messages.findLastIndex(({ role }) => role === 'assistant');
  const counts = (message: number): boolean => {
    const { weight } = messages[message]!;
    if (message < first || weight === 0) return false;
    if (settings.loss_on === 'weight') return weight === 1;
    return settings.loss_on === 'all' || message === last;
  };
  const answers = messages.flatMap(({ role }, i) => (role === 'assistant' ? [i] : []));
  const everything = answers.every(counts);
  const scored = new Uint8Array(chat.ids.length);
  for (const { message, start, end } of chat.spans) {
    if (message === undefined && !everything) throw unknownAnswer();
    if (message === undefined || counts(message)) scored.fill(1, Math.max(1, start), end);
  }
  return scored;
}

/** Every token but the first, which has nothing before it to be predicted from. */
function all(length: number): Uint8Array {
  return new Uint8Array(length).fill(1, 1);
}
