/**
 * Supervised rows: conversations, prompts with completions, or plain text as ids with scored positions.
 *
 * Prompt and answer are encoded apart and joined as ids. A completion is closed by EOS, an assistant turn by what
 * the chat template puts there; both closing tokens are scored, so that a model learns to stop.
 */
import { encodeChat } from '../tokenizer/chat.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { SupervisedRow } from './dataset.ts';
import { type RowContent, SUPERVISED } from './shapes/content.ts';
import { type RowSource, readRows } from './shapes/read.ts';

/** Which tokens count, by the names that TRL's SFT settings have. */
export interface LossSettings {
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
    const chat = encodeChat(tokenizer, row.messages, { tools: row.tools });
    return { ...chat, scored: settings.assistant_only_loss ? chat.scored : all(chat.ids.length) };
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

/** Every token but the first, which has nothing before it to be predicted from. */
function all(length: number): Uint8Array {
  return new Uint8Array(length).fill(1, 1);
}
