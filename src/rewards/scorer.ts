/**
 * What gives a response a number: a program, a reward model, a judge. Used to rank stored responses and to reward
 * those that are drawn in training.
 */
import type { ChatMessage, TemplateInputs } from '../tokenizer/chat_template.ts';

/** A response with all that a scorer may look at. */
export interface Response extends TemplateInputs {
  /** Text of the prompt; of a conversation its last user message. */
  prompt: string;
  /** The conversation, where the prompt is one. */
  messages: readonly ChatMessage[] | undefined;
  promptIds: Int32Array;
  /** Without special tokens. */
  text: string;
  ids: Int32Array;
  finish: 'stop' | 'length';
  /** Further fields of the row that the prompt came from (`answer`, ...). */
  fields: Readonly<Record<string, unknown>>;
}

export interface Scorer {
  /** Its name in metrics (`rewards/<name>/mean`) and reports. */
  name: string;
  /** A number for each response, in their order; null where it says nothing about one. */
  score(responses: readonly Response[]): Promise<(number | null)[]>;
  /** Why it said nothing about responses, and how often, since it was opened. Absent: it always says something. */
  skipped?: ReadonlyMap<string, number>;
  close(): Promise<void>;
}
