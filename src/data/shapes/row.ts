/**
 * A row whose fields are asked for by role. What several fields say together (a system text, Alpaca's instruction
 * with its input and history) is put together here, once for all stages.
 */
import {
  type ChatMessage,
  type TemplateInputs,
  type TemplateKwargs,
  templateInputs,
} from '../../tokenizer/chat_template.ts';
import { describe, type Fail, RowError } from './errors.ts';
import { parseMessages, parseTemplateKwargs, parseTools, writtenMessages } from './messages.ts';
import { type FieldMap, ROLES, type Role } from './roles.ts';

/** Roles that are text or a conversation, which tables of text have as JSON. */
const SPOKEN: ReadonlySet<Role> = new Set<Role>(['prompt', 'completion', 'chosen', 'rejected']);

export class FieldRow {
  /** `file:12` */
  readonly origin: string;
  /** As the file has them. */
  readonly fields: Record<string, unknown>;
  /** What a row has, for errors of its fields: of its shape, once that is found. */
  hint: string;
  readonly #map: FieldMap;
  readonly #templateKwargs: TemplateKwargs | undefined;

  /** `templateKwargs`: those of the recipe. */
  constructor(
    fields: Record<string, unknown>,
    origin: string,
    map: FieldMap,
    hint: string,
    templateKwargs?: TemplateKwargs,
  ) {
    this.fields = fields;
    this.origin = origin;
    this.hint = hint;
    this.#map = map;
    this.#templateKwargs = templateKwargs;
  }

  /** Makes the error of a field. */
  readonly fail: Fail = (field, problem) =>
    new RowError('data_field', this.origin, field, problem, { hint: this.hint });

  /** The error of what a role's field has; `below` leads further into it. */
  failRole(role: Role, problem: string, below = ''): RowError {
    return this.fail(`${this.field(role)}${below}`, problem);
  }

  /** The field of a role, for messages. */
  field(role: Role): string {
    return this.#map.field(role, this.fields);
  }

  get(role: Role): unknown {
    const value = this.#map.value(this.fields, role);
    return typeof value === 'string' && SPOKEN.has(role) ? (writtenMessages(value) ?? value) : value;
  }

  has(role: Role): boolean {
    return this.#map.value(this.fields, role) !== undefined;
  }

  /** Whether there is a field for a role, be it empty. */
  knows(role: Role): boolean {
    return this.#map.names(role) || ROLES[role].some((name) => Object.hasOwn(this.fields, name));
  }

  /** The text of a role; missing or of another type is an error. */
  text(role: Role): string {
    const value = this.get(role);
    if (typeof value === 'string') return value;
    throw this.failRole(role, `must be text, is ${describe(value)}`);
  }

  /** The text of a role, or undefined where there is none. */
  textIfAny(role: Role): string | undefined {
    return this.has(role) ? this.text(role) : undefined;
  }

  /** The conversation of a role, begun by the row's system text. */
  messages(role: 'messages' | 'prompt'): ChatMessage[] {
    return this.withSystem(parseMessages(this.get(role), this.field(role), this.fail));
  }

  /** What a template gets beside the messages. Of variables those of the row go before those of the recipe. */
  templateInputs(): TemplateInputs {
    const tools = parseTools(this.get('tools'), this.field('tools'), this.fail);
    const role = 'chat_template_kwargs';
    const own = parseTemplateKwargs(this.get(role), this.field(role), this.fail);
    return templateInputs({
      tools,
      templateKwargs: own ? { ...this.#templateKwargs, ...own } : this.#templateKwargs,
    });
  }

  /**
   * What an answer is given to: text that is gone on from, or a conversation. Text is the turn of a user where rows
   * have a system text (be it empty in this one), or where `chat` says so.
   */
  prompt(chat = false): string | ChatMessage[] {
    if (!this.has('prompt') && this.has('instruction')) return this.alpaca();
    const value = this.get('prompt');
    if (typeof value !== 'string') {
      if (value === undefined) throw this.failRole('prompt', 'is missing');
      return this.messages('prompt');
    }
    return chat || this.knows('system') ? this.withSystem([{ role: 'user', content: value }]) : value;
  }

  /** Alpaca's question as a conversation: instruction and input are one turn, history the turns before it. */
  alpaca(): ChatMessage[] {
    const asked = [this.text('instruction'), this.textIfAny('input') ?? ''].filter((part) => part !== '');
    if (asked.length === 0) throw this.failRole('instruction', 'is empty, and there is no input');
    return this.withSystem([...this.#history(), { role: 'user', content: asked.join('\n') }]);
  }

  #history(): ChatMessage[] {
    const history = this.get('history') ?? [];
    const field = this.field('history');
    if (!Array.isArray(history)) throw this.fail(field, `must be a list of pairs, is ${describe(history)}`);
    return history.flatMap((pair: unknown, i): ChatMessage[] => {
      const [question, answer] = Array.isArray(pair) && pair.length === 2 ? (pair as unknown[]) : [];
      if (typeof question !== 'string' || typeof answer !== 'string')
        throw this.fail(`${field}.${i}`, 'must be a question and its answer, both text');
      return [
        { role: 'user', content: question },
        { role: 'assistant', content: answer },
      ];
    });
  }

  /** A conversation with the row's system text before it. */
  withSystem(messages: ChatMessage[]): ChatMessage[] {
    const system = this.textIfAny('system') ?? '';
    const first = messages[0]!;
    if (system === '' || (first.role === 'system' && first.content === system)) return messages;
    if (first.role === 'system')
      throw this.failRole('system', 'is another text than the system message of the conversation');
    return [{ role: 'system', content: system }, ...messages];
  }

  /**
   * The row's fields without those of some roles: for rewards, reports and groups. What the recipe's `fields` names
   * is there by its role as well.
   */
  rest(used: readonly Role[] = []): Record<string, unknown> {
    const taken = new Set(used.map((role) => this.field(role)));
    const rest = Object.fromEntries(Object.entries(this.fields).filter(([name]) => !taken.has(name)));
    for (const role of this.#map.named) {
      if (!used.includes(role) && this.has(role)) rest[role] = this.get(role);
    }
    return rest;
  }
}
