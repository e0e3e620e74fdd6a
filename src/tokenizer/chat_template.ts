/**
 * The one renderer of chat templates: training, chat and serving all get their text here. Templates are Jinja as
 * `transformers` reads it (trim_blocks, lstrip_blocks, raise_exception, strftime_now, tojson).
 *
 * Beside the text it says which spans of it the assistant writes. A template can mark them with
 * `{% generation %} ... {% endgeneration %}`. Otherwise the span of an assistant message is what its rendering
 * adds to the rendering of the messages before it with the generation prompt.
 */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { AnnealError } from '../../proto/errors.ts';

/** One turn. Further fields (`name`, `tool_calls`, ...) reach the template as they are. */
export interface ChatMessage {
  role: string;
  /** Null is nothing: beside tool calls. */
  content: string | null;
  [field: string]: unknown;
}

/** Half-open range of UTF-16 offsets into the rendered text. */
export interface AssistantSpan {
  start: number;
  end: number;
}

export interface RenderOptions {
  /** Ends the text where the assistant's answer begins. */
  addGenerationPrompt?: boolean;
  /** What the assistant may call, as templates write it. */
  tools?: readonly Record<string, unknown>[] | undefined;
  /** Special tokens by the names that templates use. */
  bosToken?: string | undefined;
  eosToken?: string | undefined;
}

/**
 * ChatML for tokenizers that bring no template: every turn is closed by the EOS token, so the token that ends a
 * document is the one that ends an answer.
 */
export const DEFAULT_CHAT_TEMPLATE = `{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}
            {{- message['content'] + eos_token }}
        {%- endgeneration %}
    {%- else %}
        {{- message['content'] + eos_token }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
`;

/** The special token that DEFAULT_CHAT_TEMPLATE needs besides EOS. */
export const DEFAULT_TURN_TOKEN = '<|im_start|>';

const GENERATION_TAG = /\{%(-?)\s*(end)?generation\s*(-?)%\}/g;

/** Renders messages to text. */
export function renderChat(
  template: string,
  messages: readonly ChatMessage[],
  options: RenderOptions = {},
): string {
  return run(compile(template), messages, options);
}

/** Renders messages and finds the spans that the assistant writes, in order. */
export function renderChatWithSpans(
  template: string,
  messages: readonly ChatMessage[],
  options: RenderOptions = {},
): { text: string; spans: AssistantSpan[] } {
  if (hasGenerationTags(template)) return renderMarked(template, messages, options);
  const text = renderChat(template, messages, options);
  const spans = messages.flatMap((message, i) =>
    message.role === 'assistant' ? [spanByPrefix(template, messages, i, text, options)] : [],
  );
  return { text, spans };
}

/** Fails with `template_invalid` when a template cannot be parsed. */
export function checkTemplate(template: string): void {
  compile(template);
}

function hasGenerationTags(template: string): boolean {
  return template.search(GENERATION_TAG) >= 0;
}

type Program = ReturnType<typeof parse>;

const compiled = new Map<string, Program>();

function compile(template: string): Program {
  let result = compiled.get(template);
  if (result === undefined) {
    try {
      result = parse(tokenize(template, { trim_blocks: true, lstrip_blocks: true }));
    } catch (error) {
      throw new AnnealError(
        'template_invalid',
        `The chat template cannot be parsed: ${(error as Error).message}`,
        {
          hint: 'Templates are Jinja, as transformers renders them.',
          cause: error,
        },
      );
    }
    if (compiled.size >= 16) compiled.clear();
    compiled.set(template, result);
  }
  return result;
}

/** What every template may use, besides what the interpreter brings. */
const GLOBALS = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range: (first: number, end?: number, step = 1): number[] => {
    const [from, to] = end === undefined ? [0, first] : [first, end];
    return Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, i) => from + i * step);
  },
  raise_exception: (message: string): never => {
    throw new Error(message);
  },
  strftime_now: (format: string): string => formatTime(new Date(), format),
};

function run(template: Program, messages: readonly ChatMessage[], options: RenderOptions): string {
  const names = {
    ...GLOBALS,
    messages,
    tools: options.tools ?? null,
    documents: null,
    add_generation_prompt: options.addGenerationPrompt ?? false,
    ...(options.bosToken === undefined ? {} : { bos_token: options.bosToken }),
    ...(options.eosToken === undefined ? {} : { eos_token: options.eosToken }),
  };
  try {
    const environment = new Environment();
    for (const [name, value] of Object.entries(names)) environment.set(name, value);
    return String(new Interpreter(environment).run(template).value);
  } catch (error) {
    throw new AnnealError(
      'template_invalid',
      `The chat template cannot render this: ${(error as Error).message}`,
      {
        hint: 'Check the roles and their order against the template of the model.',
        cause: error,
      },
    );
  }
}

/** Python's strftime in its default (English) locale; Jinja for JavaScript would follow the user's. */
export function formatTime(date: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const name = (options: Intl.DateTimeFormatOptions): string => date.toLocaleDateString('en-US', options);
  const fields: Record<string, () => string> = {
    Y: () => String(date.getFullYear()),
    y: () => two(date.getFullYear() % 100),
    m: () => two(date.getMonth() + 1),
    d: () => two(date.getDate()),
    H: () => two(date.getHours()),
    M: () => two(date.getMinutes()),
    S: () => two(date.getSeconds()),
    B: () => name({ month: 'long' }),
    b: () => name({ month: 'short' }),
    A: () => name({ weekday: 'long' }),
    a: () => name({ weekday: 'short' }),
    '%': () => '%',
  };
  return format.replace(/%(.)/g, (whole, field: string) => fields[field]?.() ?? whole);
}

/** Replaces the generation tags by marks in the text, which Jinja's whitespace control treats like the tags. */
function renderMarked(
  template: string,
  messages: readonly ChatMessage[],
  options: RenderOptions,
): { text: string; spans: AssistantSpan[] } {
  const input = JSON.stringify(messages) + template;
  let salt = 0;
  while (input.includes(`\uE000${salt}`)) salt++;
  const open = `\uE000${salt}(`;
  const close = `\uE000${salt})`;
  const marked = template.replace(
    GENERATION_TAG,
    (_, left: string, end: string | undefined, right: string) =>
      `{%${left} if true %}${end === undefined ? open : close}{% endif ${right}%}`,
  );
  const rendered = run(compile(marked), messages, options);
  const spans: AssistantSpan[] = [];
  let text = '';
  let at = 0;
  for (;;) {
    const start = rendered.indexOf(open, at);
    if (start < 0) break;
    const end = rendered.indexOf(close, start);
    if (end < 0) throw unbalanced();
    text += rendered.slice(at, start);
    const from = text.length;
    text += rendered.slice(start + open.length, end);
    spans.push({ start: from, end: text.length });
    at = end + close.length;
  }
  text += rendered.slice(at);
  if (text.includes(`\uE000${salt}`)) throw unbalanced();
  return { text, spans };
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

function spanByPrefix(
  template: string,
  messages: readonly ChatMessage[],
  index: number,
  text: string,
  options: RenderOptions,
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
  return { start: before.length, end: after.length };
}
