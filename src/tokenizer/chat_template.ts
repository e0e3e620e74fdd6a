/**
 * The one renderer of chat templates: training, chat and serving all get their text here. Templates are Jinja as
 * `transformers` reads it (trim_blocks, lstrip_blocks, raise_exception, strftime_now, tojson). `chat_spans.ts` says
 * which spans of the text the assistant writes.
 */
import { AnnealError } from '../../proto/errors.ts';
import { type JinjaProgram, parseJinja, renderJinja } from './jinja.ts';
import { jinjaValue, type Value } from './jinja_values.ts';

/** One turn. Further fields (`name`, `tool_calls`, ...) reach the template as they are. */
export interface ChatMessage {
  role: string;
  /** Null is nothing: beside tool calls. */
  content: string | null;
  [field: string]: unknown;
}

/** Further variables of a template (`chat_template_kwargs`), such as `enable_thinking`. */
export type TemplateKwargs = Readonly<Record<string, unknown>>;

/** What a template gets beside the messages. */
export interface TemplateInputs {
  /** Functions that the assistant may call, as JSON schemas. */
  tools?: readonly Record<string, unknown>[] | undefined;
  templateKwargs?: TemplateKwargs | undefined;
}

/** The inputs among the members of something larger. */
export function templateInputs({ tools, templateKwargs }: TemplateInputs): TemplateInputs {
  return { ...(tools && { tools }), ...(templateKwargs && { templateKwargs }) };
}

export interface RenderOptions extends TemplateInputs {
  /** Ends the text where the assistant's answer begins. */
  addGenerationPrompt?: boolean;
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

/** Renders messages to text. */
export function renderChat(
  template: string,
  messages: readonly ChatMessage[],
  options: RenderOptions = {},
): string {
  const program = compileTemplate(template);
  return asTemplateTakes(messages, (given) => runTemplate(program, templateMessages(given), options));
}

/** Fails with `template_invalid` when a template cannot be parsed. */
export function checkTemplate(template: string): void {
  compileTemplate(template);
}

const compiled = new Map<string, JinjaProgram>();

/** A template as a tree, `changed` once after parsing where a change is given; kept by `key`. */
export function compileTemplate(
  template: string,
  key = template,
  change?: (program: JinjaProgram) => void,
): JinjaProgram {
  let result = compiled.get(key);
  if (result === undefined) {
    try {
      result = parseJinja(template);
    } catch (error) {
      throw new AnnealError(
        'template_invalid',
        `The chat template cannot be parsed: ${parseProblem(error)}`,
        {
          hint: 'Templates are Jinja, as transformers renders them.',
          cause: error,
        },
      );
    }
    change?.(result);
    if (compiled.size >= 16) compiled.clear();
    compiled.set(key, result);
  }
  return result;
}

/** The parser stumbles over its own end where a block is still open. */
function parseProblem(error: unknown): string {
  if (error instanceof TypeError) return 'it ends within a block; is an {% endfor %} or {% endif %} missing?';
  return (error as Error).message;
}

/** Fields in which messages bring the reasoning before an answer. */
const REASONING_FIELDS = ['reasoning_content', 'thinking', 'reasoning'] as const;

/** The reasoning before an answer, under whatever name its message has it. */
export function reasoningOf(message: ChatMessage): unknown {
  return REASONING_FIELDS.map((name) => message[name]).find((value) => value !== undefined && value !== null);
}

/** Messages as templates see them: reasoning under each of the names that templates read, as in `transformers`. */
export function templateMessages(messages: readonly ChatMessage[]): Value {
  return jinjaValue(
    messages.map((message) => {
      const reasoning = reasoningOf(message);
      if (reasoning === undefined) return message;
      return { thinking: reasoning, ...message, reasoning_content: reasoning };
    }),
  );
}

/**
 * Most templates write the arguments of tool calls as JSON; some (DeepSeek V3 and R1) add them to text, as OpenAI's API
 * has them, and fail at an object: they get the JSON.
 */
export function asTemplateTakes<T>(
  messages: readonly ChatMessage[],
  render: (messages: readonly ChatMessage[]) => T,
): T {
  try {
    return render(messages);
  } catch (error) {
    const written = withTextArguments(messages);
    if (written === undefined) throw error;
    try {
      return render(written);
    } catch {
      throw error;
    }
  }
}

/** Undefined where no call has an object. */
function withTextArguments(messages: readonly ChatMessage[]): ChatMessage[] | undefined {
  let any = false;
  const written = messages.map((message) => {
    if (!Array.isArray(message.tool_calls)) return message;
    const calls = (message.tool_calls as { function?: { arguments?: unknown } }[]).map((call) => {
      const given = call.function?.arguments;
      if (given === null || typeof given !== 'object') return call;
      any = true;
      const json = renderJinja(parseJinja('{{ given | tojson }}'), [['given', jinjaValue(given)]]);
      return { ...call, function: { ...call.function, arguments: json } };
    });
    return { ...message, tool_calls: calls };
  });
  return any ? written : undefined;
}

/** What every template may use, besides what the interpreter brings. */
const GLOBALS: readonly (readonly [string, Value])[] = Object.entries({
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
  documents: null,
}).map(([name, value]) => [name, jinjaValue(value)] as const);

/** Renders a tree with the messages of a chat; `functions` are further ones that it calls. */
export function runTemplate(
  program: JinjaProgram,
  messages: Value,
  options: RenderOptions,
  functions: Readonly<Record<string, (...args: unknown[]) => string>> = {},
): string {
  const { addGenerationPrompt, bosToken, eosToken, tools, templateKwargs } = options;
  const names = {
    tools: tools ?? null,
    add_generation_prompt: addGenerationPrompt ?? false,
    ...(bosToken === undefined ? {} : { bos_token: bosToken }),
    ...(eosToken === undefined ? {} : { eos_token: eosToken }),
    ...templateKwargs,
    ...functions,
  };
  const values = Object.entries(names).map(([name, value]) => [name, jinjaValue(value)] as const);
  try {
    return renderJinja(program, [...GLOBALS, ...values, ['messages', messages]]);
  } catch (error) {
    throw new AnnealError(
      'template_invalid',
      `The chat template cannot render this: ${(error as Error).message}`,
      {
        hint: 'Check the roles, their order, and messages without content against the template of the model.',
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
