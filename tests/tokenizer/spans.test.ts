/**
 * Spans of the assistant in templates without generation tags. The templates are written here after the manners of
 * published ones; `tests/peers/templates.test.ts` has the published ones themselves.
 */
import { describe, expect, it } from 'vitest';
import { renderChatWithSpans } from '../../src/tokenizer/chat_spans.ts';
import { renderChat } from '../../src/tokenizer/chat_template.ts';
import { CHATS, type TestChat } from './chats.ts';

const SPECIALS = ['<s>', '</s>', '<|im_start|>', '<|im_end|>', '<|eot|>', '<|Assistant|>', '<|outputs_end|>'];
const options = { bosToken: '<s>', eosToken: '</s>', specials: SPECIALS };

/** What the assistant writes, by message. */
function written(template: string, chat: TestChat): [number | undefined, string][] {
  const render = { ...options, tools: chat.tools };
  const { text, spans } = renderChatWithSpans(template, chat.messages, render);
  expect(text).toBe(renderChat(template, chat.messages, render));
  return spans.map(({ message, start, end }) => [message, text.slice(start, end)]);
}

/** Trims each message; calls are JSON in a turn of their own. */
const HEADERS = `{{- bos_token }}
{%- for message in messages %}
    {%- if message.tool_calls %}
        {%- set called = message.tool_calls[0].function %}
        {{- '<|im_start|>assistant\\n\\n{"name": "' + called.name + '", "parameters": ' }}
        {{- called.arguments | tojson }}{{ '}<|eot|>' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n\\n' + message.content | trim + '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n\\n' }}{%- endif %}`;

/** Leaves reasoning out of the turns before the last question, and gives the last answer an empty one. */
const THINKING = `{%- set ns = namespace(last=messages | length - 1, seeking=true) %}
{%- for message in messages[::-1] %}
    {%- if ns.seeking and message.role == 'user' %}
        {%- set ns.seeking = false %}
        {%- set ns.last = messages | length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set reasoning = message.reasoning_content or '' %}
        {%- set content = message.content %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last %}{{- '<think>\\n' + reasoning + '\\n</think>\\n\\n' }}{%- endif %}
        {{- content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}`;

/** Another name for the role, and a loop over numbers. */
const MODEL_ROLE = `{{ bos_token }}{% for i in range(messages | length) %}{% set message = messages[i] %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}{{ '<|im_start|>' + role + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>model\\n' }}{% endif %}`;

/** No prompt for generation; what the system says goes into the last question. */
const INSTRUCTIONS = `{{ bos_token }}
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}
{%- for message in rest %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' + (system + '\\n\\n' if system is defined and loop.index >= loop.length - 1 else '') + message.content + ' [/INST]' }}
    {%- else %}
        {{- ' ' + message.content + eos_token }}
    {%- endif %}
{%- endfor %}`;

/** The end of the tools' outputs stands in the turn that answers them, or in the prompt. */
const OUTPUTS = `{% set ns = namespace(outputs=false) %}{{ bos_token }}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {{- '<|Assistant|>' + message.tool_calls[0].function.name + '(' + message.tool_calls[0].function.arguments | tojson + ')' + eos_token }}
    {%- elif message.role == 'assistant' %}
        {{- ('<|outputs_end|>' if ns.outputs else '<|Assistant|>') + message.content + eos_token }}
        {%- set ns.outputs = false %}
    {%- elif message.role == 'tool' %}
        {{- '<output>' + message.content + '</output>' }}
        {%- set ns.outputs = true %}
    {%- else %}
        {{- message.content }}
    {%- endif %}
{%- endfor %}
{%- if ns.outputs %}{{ '<|outputs_end|>' }}{% elif add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}`;

/** The prompt for generation is written by the last pass of the loop; EOS follows behind the whole chat. */
const IN_THE_LOOP = `{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}`;

/** Tools' results are written in the assistant's own turn, before the text of its message. */
const RESULTS_INSIDE = `{% for message in messages if message.role != 'tool' %}{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.tool_calls %}
    {%- for each in message.tool_calls %}{{ '<call>' + each.function.name + '</call>' }}{% endfor %}
    {%- for i in range(messages | length) %}
        {%- set other = messages[i] %}
        {%- if other.role == 'tool' %}{{ '<result>' + other.content + '</result>' }}{% endif %}
    {%- endfor %}
{%- endif %}
{{- message.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`;

describe('spans without generation tags', () => {
  it('leave the header out and take the closing token in, of trimmed text and calls', () => {
    expect(written(HEADERS, CHATS.spaces)).toEqual([[1, '2.\n\n second<|eot|>']]);
    expect(written(HEADERS, CHATS.repeated)).toEqual([1, 3, 5].map((i) => [i, 'b<|eot|>']));
    expect(written(HEADERS, CHATS.calls)).toEqual([
      [
        2,
        '{"name": "get_weather", "parameters": {"city": "Romé \\"x\\"", "days": 2, "hot": true, "none": null, "list": [1, 2.5]}}<|eot|>',
      ],
      [4, 'It is sunny.<|eot|>'],
      [6, 'Welcome.<|eot|>'],
    ]);
  });

  it('are found where a template changes earlier turns', () => {
    const spans = [
      [1, '2<|im_end|>\n'],
      [3, '<think>\ntwo and two\n</think>\n\n4<|im_end|>\n'],
    ];
    expect(written(THINKING, CHATS.thinking)).toEqual(spans);
    expect(written(THINKING, CHATS.reasoning)).toEqual(spans);
    expect(written(THINKING, CHATS.spaces)).toEqual([
      [1, '<think>\n\n</think>\n\n 2.\n\n second \n<|im_end|>\n'],
    ]);
    // `<` of the answer is not the beginning of what the last answer has before it.
    expect(written(THINKING, CHATS.system)).toEqual([
      [2, 'ho<|im_end|>\n'],
      [4, '<think>\n\n</think>\n\n<b>so</b><|im_end|>\n'],
    ]);
  });

  it('begin behind what the prompt has of an answer', () => {
    const opened = THINKING.replace(
      "{{- '<|im_start|>assistant\\n' }}{%- endif %}",
      "{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}",
    );
    expect(opened).not.toBe(THINKING);
    expect(written(opened, CHATS.thinking)).toEqual([
      [1, '2<|im_end|>\n'],
      [3, 'two and two\n</think>\n\n4<|im_end|>\n'],
    ]);
    const html = {
      messages: [...CHATS.single.messages, CHATS.system.messages[3]!, CHATS.system.messages[4]!],
    };
    expect(
      written(opened, { messages: [html.messages[0]!, html.messages[3]!, ...html.messages.slice(2)] })[0],
    ).toEqual([1, '<b>so</b><|im_end|>\n']);
  });

  it('are found in loops over numbers, with another name of the role', () => {
    expect(written(MODEL_ROLE, CHATS.system)).toEqual([
      [2, 'ho<|im_end|>\n'],
      [4, '<b>so</b><|im_end|>\n'],
    ]);
  });

  it('have calls whose arguments the template adds to text, as the JSON that they are', () => {
    const adding = HEADERS.replace('| tojson }}{{', "+ '' }}{{");
    expect(adding).not.toBe(HEADERS);
    for (const key of ['two calls', 'arguments as text'] as const) {
      expect(written(adding, CHATS[key])).toEqual(
        written(HEADERS, CHATS['two calls']).with(-1, expect.anything()),
      );
    }
    // What fails for another reason is told as it is.
    const refusing = `{{ raise_exception('no ' + messages[1].tool_calls[0].function.arguments | string) }}`;
    expect(() => renderChat(refusing, CHATS['two calls'].messages)).toThrow("no {'city': 'Rome'}");
  });

  it('are found without a prompt for generation', () => {
    expect(written(INSTRUCTIONS, CHATS.system)).toEqual([
      [2, ' ho</s>'],
      [4, ' <b>so</b></s>'],
    ]);
  });

  it('do not have the end of tools’ outputs', () => {
    expect(written(OUTPUTS, CHATS['null content'])).toEqual([
      [1, 'get_weather({"city": "Rome"})</s>'],
      [3, 'Sun.</s>'],
    ]);
  });

  it('do not have a header that the prompt before writes in its loop', () => {
    expect(written(IN_THE_LOOP, CHATS.repeated)).toEqual([1, 3, 5].map((i) => [i, 'b</s>\n']));
  });

  it('leave out what tools say within a turn', () => {
    expect(written(RESULTS_INSIDE, CHATS['two calls'])).toEqual([
      [1, '<call>get_weather</call><call>get_weather</call>'],
      [1, 'I look.<|im_end|>\n'],
      [4, 'Sun, snow.<|im_end|>\n'],
    ]);
  });

  it('of generation tags know their messages', () => {
    const tagged = HEADERS.replace(
      '{%- else %}',
      "{%- elif message.role == 'assistant' %}{{- '<|im_start|>assistant\\n\\n' }}{%- generation %}{{- message.content + '<|eot|>' }}{%- endgeneration %}{%- else %}",
    );
    expect(written(tagged, CHATS.repeated)).toEqual([1, 3, 5].map((i) => [i, 'b<|eot|>']));
    // A tag of its own behind the chat belongs to the last answer.
    const behind = `${tagged}{% generation %}{{ eos_token }}{% endgeneration %}`;
    expect(written(behind, CHATS.single)).toEqual([
      [1, 'Paris, Madrid.<|eot|>'],
      [1, '</s>'],
    ]);
  });

  it('are refused where the messages cannot be followed and earlier turns change', () => {
    const hidden = `{% macro all() %}{% for m in messages %}{{ m.role + ':' + (m.content if loop.last or m.role == 'user' else '') + ';' }}{% endfor %}{% endmacro %}{{ all() }}{% if add_generation_prompt %}assistant:{% endif %}`;
    expect(written(hidden, CHATS.single)).toEqual([[1, 'Paris, Madrid.;']]);
    expect(() => written(hidden, CHATS.repeated)).toThrow(
      expect.objectContaining({ code: 'template_invalid', hint: expect.stringContaining('generation') }),
    );
  });
});
