/**
 * Which spans of a rendered chat the assistant writes.
 *
 * A template may mark them with `{% generation %} ... {% endgeneration %}`. Most do not, so the renderer looks for
 * itself: the tree of the template gets a call at the head of each loop, which leaves a mark in the text when the
 * loop comes to a message. So each stretch of text is known by the message that it was rendered from (its *turn*,
 * in one piece or several), whatever the template makes of other turns. Of the assistant's turn, what the template appends to a prompt for
 * generation (`<|im_start|>assistant\n`) is not written by the assistant; the rest is.
 */
import { AnnealError } from '../../proto/errors.ts';
import {
  asTemplateTakes,
  type ChatMessage,
  compileTemplate,
  type RenderOptions,
  renderChat,
  runTemplate,
  templateMessages,
} from './chat_template.ts';
import type { JinjaNode, JinjaProgram } from './jinja.ts';
import { isArray } from './jinja_values.ts';

/** Half-open range of UTF-16 offsets into the rendered text. */
export interface TextSpan {
  start: number;
  end: number;
}

/** What the assistant writes for one of its messages. */
export interface AssistantSpan extends TextSpan {
  /** Place of the message in the chat; undefined: a template with generation tags does not tell. */
  message: number | undefined;
}

export interface SpanOptions extends RenderOptions {
  /** Special tokens: a header ends with one of them, or with its line. */
  specials?: readonly string[];
}

const GENERATION_TAG = /\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g;

/** Functions that the marked tree calls; no template can name them. */
const ENTER_LOOP = 'loop begins';
const ENTER_TURN = 'loop comes to';
const TAKE_MESSAGE = 'loop takes';
const LEAVE_LOOP = 'loop ends';

/** Renders messages and finds the spans that the assistant writes, in order. */
export function renderChatWithSpans(
  template: string,
  messages: readonly ChatMessage[],
  options: SpanOptions = {},
): { text: string; spans: AssistantSpan[] } {
  const chat = asTemplateTakes(messages, (given) => renderMarked(template, given, options));
  if (chat.generated === undefined) {
    const spans = messages.flatMap((message, i) =>
      message.role === 'assistant' ? spansOf(i, template, messages, chat, options) : [],
    );
    return { text: chat.text, spans };
  }
  const spans = chat.generated.filter(({ start, end }) => end > start);
  const answers = messages.flatMap(({ role }, i) => (role === 'assistant' ? [i] : []));
  return {
    text: chat.text,
    spans: spans.map((span, n) => {
      const turn =
        chat.turns.find(({ start, end }) => start <= span.start && span.end <= end) ??
        chat.turns.findLast(({ message, end }) => answers.includes(message) && end <= span.start);
      return {
        ...span,
        message: turn?.message ?? (spans.length === answers.length ? answers[n] : undefined),
      };
    }),
  };
}

interface Turn extends TextSpan {
  message: number;
}

interface MarkedChat {
  text: string;
  /** Stretches of text that were rendered in a loop's pass over a message, in order; none are empty. */
  turns: Turn[];
  /** The contents of generation blocks; undefined: the template has none. */
  generated: TextSpan[] | undefined;
}

/** Renders with marks of private-use characters in the text, and takes them out again. */
function renderMarked(
  template: string,
  messages: readonly ChatMessage[],
  options: RenderOptions,
): MarkedChat {
  const salt = unusedSalt(JSON.stringify([messages, options.tools, options.templateKwargs]) + template);
  const mark = (what: string) => `\uE000${salt}${what}\uE001`;
  const tagged = template.search(GENERATION_TAG) >= 0;
  // Jinja's control of white space treats the mark within a block as it treats what the tags enclose.
  const source = template.replace(
    GENERATION_TAG,
    (_, left: string, end: string | undefined, right: string) =>
      `{%${left} if true %}${mark(end === undefined ? '(' : ')')}{% endif ${right}%}`,
  );
  const program = compileTemplate(source, `marked ${source}`, markLoops);
  const values = templateMessages(messages);
  const places = new Map<unknown, number>();
  if (isArray(values)) for (const [i, { value }] of values.value.entries()) places.set(value, i);
  /** The loops that run, innermost last: each with its message, which is its variable's or taken by its number. */
  const loops: { message?: number; own?: boolean }[] = [];
  const turn = () => loops.findLast(({ message }) => message !== undefined)?.message;
  const rendered = runTemplate(program, values, options, {
    [ENTER_LOOP]: () => {
      loops.push({});
      return '';
    },
    [ENTER_TURN]: (value) => {
      const message = places.get(value);
      if (message === undefined) return '';
      loops[loops.length - 1] = { message, own: true };
      return mark(String(message));
    },
    [TAKE_MESSAGE]: (value) => {
      const message = places.get(value);
      if (message === undefined || loops.at(-1)!.own) return '';
      loops[loops.length - 1] = { message };
      return mark(String(message));
    },
    [LEAVE_LOOP]: () => (loops.pop()!.message === undefined ? '' : mark(String(turn() ?? ''))),
  });
  return takeMarks(rendered, `\uE000${salt}`, tagged);
}

function unusedSalt(input: string): string {
  for (let salt = 0; ; salt++) if (!input.includes(`\uE000${salt}`)) return String(salt);
}

function takeMarks(rendered: string, prefix: string, tagged: boolean): MarkedChat {
  const turns: Turn[] = [];
  const generated: TextSpan[] = [];
  const [head, ...pieces] = rendered.split(prefix);
  let text = head!;
  let message: number | undefined;
  let open: number | undefined;
  for (const piece of pieces) {
    const end = piece.indexOf('\uE001');
    const what = piece.slice(0, end);
    const start = text.length;
    text += piece.slice(end + 1);
    if (what === '(') {
      if (open !== undefined) throw unbalanced();
      open = start;
    } else if (what === ')') {
      if (open === undefined) throw unbalanced();
      generated.push({ start: open, end: start });
      open = undefined;
    } else {
      message = what === '' ? undefined : Number(what);
    }
    const last = turns.at(-1);
    if (message === undefined || text.length === start) continue;
    if (last?.message === message && last.end === start) last.end = text.length;
    else turns.push({ message, start, end: text.length });
  }
  if (open !== undefined) throw unbalanced();
  return { text, turns, generated: tagged ? generated : undefined };
}

function unbalanced(): AnnealError {
  return new AnnealError(
    'template_invalid',
    'A {% generation %} block of the chat template is nested or not closed.',
    {
      hint: 'Put one {% generation %} ... {% endgeneration %} around what the assistant writes.',
    },
  );
}

/** Puts the calls into all loops whose text is written out as it is: not into what is captured or filtered. */
function markLoops(program: JinjaProgram): void {
  program.body = marked(program.body, false);
}

function marked(statements: readonly JinjaNode[], looped: boolean): JinjaNode[] {
  return statements.flatMap((node) => {
    switch (node.type) {
      case 'If':
        node.body = marked(node.body as JinjaNode[], looped);
        node.alternate = marked(node.alternate as JinjaNode[], looped);
        return [node];
      case 'Set': {
        // `{% set message = messages[i] %}` of a loop over numbers.
        const assignee = node.assignee as JinjaNode;
        return looped && assignee.type === 'Identifier' ? [node, call(TAKE_MESSAGE, assignee)] : [node];
      }
      case 'For': {
        const variable = node.loopvar as JinjaNode;
        const body = marked(node.body as JinjaNode[], true);
        node.body = variable.type === 'Identifier' ? [call(ENTER_TURN, variable), ...body] : body;
        node.defaultBlock = marked(node.defaultBlock as JinjaNode[], looped);
        return [call(ENTER_LOOP), node, call(LEAVE_LOOP)];
      }
      default:
        return [node];
    }
  });
}

function call(name: string, ...args: JinjaNode[]): JinjaNode {
  return { type: 'CallExpression', callee: { type: 'Identifier', value: name }, args };
}

/** What the assistant writes for message `index`, in the pieces that the text has of it. */
function spansOf(
  index: number,
  template: string,
  messages: readonly ChatMessage[],
  chat: MarkedChat,
  options: SpanOptions,
): AssistantSpan[] {
  const [first, ...more] = chat.turns.filter(({ message }) => message === index);
  if (first === undefined) return [spanByPrefix(template, messages, index, chat.text, options)];
  const text = chat.text.slice(first.start, first.end);
  const specials = options.specials ?? [];
  const header =
    headerLength(text, promptTail(index, template, messages, chat, options), specials) ||
    headerLength(text, genericTail(template, options), specials);
  return [{ ...first, start: first.start + header }, ...more].filter(({ start, end }) => end > start);
}

/** How much of a turn is the header that a prompt for generation ends with, too. */
function headerLength(turn: string, tail: string, specials: readonly string[]): number {
  let common = 0;
  while (common < tail.length && turn[common] === tail[common]) common += 1;
  if (common === tail.length) return common;
  // They part in the middle: the header ends with its line, or with a special token; `<` may begin the answer.
  const shared = turn.slice(0, common);
  const ends = specials
    .filter((special) => shared.includes(special))
    .map((special) => shared.lastIndexOf(special) + special.length);
  return Math.max(shared.lastIndexOf('\n') + 1, ...ends);
}

/** What the template appends to the messages before `index` to have the assistant answer. */
function promptTail(
  index: number,
  template: string,
  messages: readonly ChatMessage[],
  chat: MarkedChat,
  options: SpanOptions,
): string {
  const before = messages.slice(0, index);
  const prompt = tryRender(template, before, { ...options, addGenerationPrompt: true });
  if (prompt === undefined) return '';
  const last = prompt.turns.findLast(({ message }) => message === index - 1);
  const same = chat.turns.findLast(({ message }) => message === index - 1);
  if (last !== undefined && same !== undefined) {
    // The turn before as it stands in the whole chat, and what a prompt that ends with it has beyond that.
    const rest = prompt.text.slice(last.start);
    const turn = chat.text.slice(same.start, same.end);
    if (rest.startsWith(turn)) return rest.slice(turn.length);
  }
  return tailBeyond(prompt, tryRender(template, before, { ...options, addGenerationPrompt: false }));
}

/** The same after a question, whatever stands before. */
function genericTail(template: string, options: SpanOptions): string {
  const question = [{ role: 'user', content: '?' }];
  const prompt = tryRender(template, question, { ...options, addGenerationPrompt: true });
  if (prompt === undefined) return '';
  return tailBeyond(prompt, tryRender(template, question, { ...options, addGenerationPrompt: false }));
}

/** What a prompt has beyond the same chat without the generation prompt, or else beyond its last turn. */
function tailBeyond(prompt: MarkedChat, plain: MarkedChat | undefined): string {
  if (plain !== undefined && prompt.text.startsWith(plain.text)) return prompt.text.slice(plain.text.length);
  const last = prompt.turns.at(-1);
  return last === undefined ? '' : prompt.text.slice(last.end);
}

function tryRender(
  template: string,
  messages: readonly ChatMessage[],
  options: SpanOptions,
): MarkedChat | undefined {
  try {
    return asTemplateTakes(messages, (given) => renderMarked(template, given, options));
  } catch (error) {
    if (error instanceof AnnealError && error.code === 'template_invalid') return undefined;
    throw error;
  }
}

/**
 * For templates that do not loop over the messages themselves: what the message's rendering adds to that of those
 * before it with the generation prompt.
 */
function spanByPrefix(
  template: string,
  messages: readonly ChatMessage[],
  index: number,
  text: string,
  options: SpanOptions,
): AssistantSpan {
  const before = renderChat(template, messages.slice(0, index), { ...options, addGenerationPrompt: true });
  const after = renderChat(template, messages.slice(0, index + 1), {
    ...options,
    addGenerationPrompt: false,
  });
  if (!after.startsWith(before) || !text.startsWith(after)) {
    throw new AnnealError(
      'template_invalid',
      `The chat template renders message ${index + 1} otherwise once it is followed or answered, so what the assistant wrote cannot be told apart.`,
      { hint: 'Mark it in the template with {% generation %} ... {% endgeneration %}.' },
    );
  }
  return { message: index, start: before.length, end: after.length };
}
