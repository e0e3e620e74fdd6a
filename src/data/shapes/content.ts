/**
 * What language modelling and supervised training read of a row: text, a conversation, or a prompt with its
 * completion; OpenAI's messages, ShareGPT and Alpaca are all conversations.
 */
import type { JsonTextOptions } from '../../native/json_texts.ts';
import type { ChatMessage, TemplateInputs } from '../../tokenizer/chat_template.ts';
import type { RawRecord } from '../sources/unit.ts';
import type { RowError } from './errors.ts';
import { parseSide } from './messages.ts';
import { type FieldsSetting, ROLES, type Role } from './roles.ts';
import type { FieldRow } from './row.ts';
import { type ReadingSettings, type RowKind, type ShapedRow, Shaper } from './shaper.ts';
import { SHAPES } from './shapes.ts';

export type RowContent =
  | { kind: 'text'; text: Buffer | string }
  | { kind: 'completion'; prompt: string; completion: string }
  | ({
      kind: 'messages';
      messages: ChatMessage[];
      /** Of a prompt and its completion: the first message of the completion. */
      completionFrom?: number;
    } & TemplateInputs);

type SupervisedShape = 'messages' | 'completion' | 'alpaca' | 'text';

/** What a stage of supervised training takes. */
export const SUPERVISED: RowKind<SupervisedShape, RowContent> = {
  takes: ['messages', 'completion', 'alpaca', 'text'],
  parse(row, shape) {
    switch (shape) {
      case 'text':
        return { kind: 'text', text: row.text('text') };
      case 'messages':
        return conversation(row, row.messages('messages'));
      case 'alpaca': {
        const answer = { role: 'assistant', content: row.text('output') };
        return conversation(row, [...row.alpaca(), answer]);
      }
      case 'completion':
        return completion(row);
    }
  },
  missing: isPair,
};

/** Reads records as RowContent; undefined is a row that `where` leaves out, a RowError one that does not fit. */
export class SupervisedShaper extends Shaper<SupervisedShape, RowContent> {
  readonly #filtered: boolean;
  /** By which rows of JSON are told that are a text whatever else they hold; undefined where all have to be parsed. */
  readonly jsonTexts: JsonTextOptions | undefined;

  constructor(settings: ReadingSettings) {
    super(settings, SUPERVISED);
    this.#filtered = settings.where !== undefined;
    this.jsonTexts = this.#filtered ? undefined : jsonTextOptions(settings.fields);
  }

  /** As in Shaper; the bytes of a text that nothing asks about are not made a string on the way. */
  override read(record: RawRecord, origin: string): ShapedRow<RowContent> | undefined {
    if (record.text === undefined || record.bad) return super.read(record, origin);
    if (this.#filtered && super.read(record, origin) === undefined) return undefined;
    return { content: { kind: 'text', text: record.text }, shape: 'text', besides: [] };
  }
}

/** Stands between the messages of a conversation that is compared with others: native/data/contamination.h. */
export const PART_END = '\u001e';

/** What a row says, for finding what is alike: of a conversation the texts without whose they are. */
export function plainText(row: RowContent): Buffer | string {
  switch (row.kind) {
    case 'text':
      return row.text;
    case 'completion':
      return `${row.prompt}${PART_END}${row.completion}`;
    case 'messages':
      return messagesText(row.messages);
  }
}

/** The texts of messages as the parts of one. */
export function messagesText(messages: readonly Pick<ChatMessage, 'content'>[]): string {
  return messages.map(({ content }) => content ?? '').join(PART_END);
}

function jsonTextOptions(fields: FieldsSetting = {}): JsonTextOptions | undefined {
  const { text, ...others } = fields;
  if (Object.keys(others).length > 0 || text?.includes('.')) return undefined;
  // Where the recipe names the field, nothing but a text is looked for.
  if (text !== undefined) return { field: text, others: [] };
  const shapes = SUPERVISED.takes.filter((shape) => shape !== 'text');
  const roles: Role[] = shapes.flatMap((shape) => [...SHAPES[shape].needs]);
  return { field: ROLES.text[0], others: roles.flatMap((role) => [...ROLES[role]]) };
}

function conversation(row: FieldRow, messages: ChatMessage[], completionFrom?: number): RowContent {
  return {
    kind: 'messages',
    messages,
    ...row.templateInputs(),
    ...(completionFrom === undefined ? {} : { completionFrom }),
  };
}

function completion(row: FieldRow): RowContent {
  const value = row.get('completion');
  const chat = typeof value !== 'string';
  const prompt = row.prompt(chat);
  if (typeof prompt === 'string') return { kind: 'completion', prompt, completion: row.text('completion') };
  const answer = chat
    ? parseSide(value, row.field('completion'), row.fail)
    : [{ role: 'assistant', content: value }];
  return conversation(row, [...prompt, ...answer], prompt.length);
}

/** Says more of a row that has something else than texts. */
function isPair(row: FieldRow): RowError | undefined {
  return row.has('chosen') && row.has('rejected')
    ? row.failRole(
        'text',
        'is missing: this is a preference pair (`fields: { messages: chosen }` reads one side)',
      )
    : undefined;
}
