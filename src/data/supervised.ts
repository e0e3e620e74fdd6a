/**
 * Supervised rows: conversations, prompts with completions, or plain text as ids with scored positions.
 *
 * Prompt and answer are encoded apart and joined as ids. A completion is closed by EOS, an assistant turn by what
 * the chat template puts there; both closing tokens are scored, so that a model learns to stop.
 */
import { encodeChat } from '../tokenizer/chat.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { SupervisedRow } from './dataset.ts';
import { type Row, type RowSettings, readRows, rowOrigin } from './rows.ts';

/** Which tokens count, by the names that TRL's SFT settings have. */
export interface LossSettings {
  /** Conversations: only what the assistant writes; else everything. */
  assistant_only_loss: boolean;
  /** Prompt and completion: only the completion; else everything. */
  completion_only_loss: boolean;
}

/** Reads and encodes the rows of files, in order. */
export async function* readSupervised(
  files: readonly string[],
  tokenizer: Tokenizer,
  settings: RowSettings & LossSettings,
): AsyncGenerator<SupervisedRow> {
  for (const file of files) {
    for await (const row of readRows(file, settings)) yield encodeRow(row, tokenizer, settings);
  }
}

/** Encodes one row; plain text is scored throughout. */
export function encodeRow(row: Row, tokenizer: Tokenizer, settings: LossSettings): SupervisedRow {
  const origin = rowOrigin(row);
  if (row.kind === 'messages') {
    const chat = encodeChat(tokenizer, row.messages);
    return { ...chat, scored: settings.assistant_only_loss ? chat.scored : all(chat.ids.length), origin };
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
  return { ids, scored, origin };
}

/** Every token but the first, which has nothing before it to be predicted from. */
function all(length: number): Uint8Array {
  return new Uint8Array(length).fill(1, 1);
}
