/** Chat templates and conversations to scored ids: what the assistant writes, and nothing else, is scored. */
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeRow } from '../../src/data/supervised.ts';
import { encodeChat } from '../../src/tokenizer/chat.ts';
import { renderChatWithSpans } from '../../src/tokenizer/chat_spans.ts';
import {
  checkTemplate,
  DEFAULT_CHAT_TEMPLATE,
  formatTime,
  renderChat,
} from '../../src/tokenizer/chat_template.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { temporaryFolder } from '../data/stage_context.ts';
import { trainTokenizer } from './fixture.ts';

const folder = temporaryFolder();
afterAll(folder.remove);

const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Capital of France?' },
  { role: 'assistant', content: 'Paris.' },
  { role: 'user', content: 'Of Spain?' },
  { role: 'assistant', content: '  Madrid\n' },
];
const options = { bosToken: '<s>', eosToken: '<|im_end|>' };

/** ChatML without generation tags. */
const PLAIN = `{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`;

const spanTexts = (template: string): string[] => {
  const { text, spans } = renderChatWithSpans(template, messages, options);
  return spans.map(({ start, end }) => text.slice(start, end));
};

describe('rendering', () => {
  it('of the default template is ChatML, closed by EOS', () => {
    expect(renderChat(DEFAULT_CHAT_TEMPLATE, messages.slice(1, 3), options)).toBe(
      '<|im_start|>user\nCapital of France?<|im_end|>\n<|im_start|>assistant\nParis.<|im_end|>\n',
    );
    expect(
      renderChat(DEFAULT_CHAT_TEMPLATE, messages.slice(1, 2), { ...options, addGenerationPrompt: true }),
    ).toBe('<|im_start|>user\nCapital of France?<|im_end|>\n<|im_start|>assistant\n');
  });

  it.each([
    ["['a', 'b', 'a'] | reject('equalto', 'a') | join", 'b'],
    ["['a', 'b', 'a'] | select('equalto', 'a') | join", 'aa'],
    ["['a', 'b', 'c'] | select('in', ['c', 'a']) | join", 'ac'],
    ["['a', 'b'] | select('ne', 'a') | join", 'b'],
    ["['a', 1, 'b'] | select('string') | join", 'ab'],
    ["['a', 1, 2] | reject('string') | list", '[1, 2]'],
    ['[1, 2.0] | select("eq", 2) | list', '[2.0]'],
  ])('filters by tests as Jinja2: %s', (expression, text) => {
    expect(renderChat(`{{ ${expression} }}`, [])).toBe(text);
  });

  it('gives the same text with spans as without', () => {
    for (const template of [DEFAULT_CHAT_TEMPLATE, PLAIN]) {
      expect(renderChatWithSpans(template, messages, options).text).toBe(
        renderChat(template, messages, options),
      );
    }
  });

  it('finds spans by generation tags', () => {
    expect(spanTexts(DEFAULT_CHAT_TEMPLATE)).toEqual(['Paris.<|im_end|>', '  Madrid\n<|im_end|>']);
    expect(
      spanTexts(
        '{% for m in messages %}{% if m.role == "assistant" %}[{% generation %}{{ m.content }}{% endgeneration %}]{% endif %}{% endfor %}',
      ),
    ).toEqual(['Paris.', '  Madrid\n']);
  });

  it('finds spans by prefixes', () => {
    expect(spanTexts(PLAIN)).toEqual(['Paris.<|im_end|>\n', '  Madrid\n<|im_end|>\n']);
  });

  it('is not confused by marks in the text', () => {
    const odd = [{ role: 'assistant', content: '\uE0000(x\uE0000)\uE0001(' }];
    const { text, spans } = renderChatWithSpans(DEFAULT_CHAT_TEMPLATE, odd, options);
    expect(spans).toHaveLength(1);
    expect(text.slice(spans[0]!.start, spans[0]!.end)).toBe(`${odd[0]!.content}<|im_end|>`);
  });

  it('writes dates in English, as Python does', () => {
    const date = new Date(2024, 6, 6, 9, 5, 3);
    expect(formatTime(date, '%d %b %Y|%B %A %a|%H:%M:%S|%y-%m %% %Q')).toBe(
      '06 Jul 2024|July Saturday Sat|09:05:03|24-07 % %Q',
    );
    const today = renderChat("{{ strftime_now('%Y-%m') }}", messages);
    expect(today).toBe(formatTime(new Date(), '%Y-%m'));
  });

  it('says what is wrong with a template', () => {
    const invalid = expect.objectContaining({ code: 'template_invalid' });
    expect(() => checkTemplate('{% for x in %}')).toThrow(invalid);
    expect(() => checkTemplate('{% for m in messages %}{{ m.content }}')).toThrow(/ends within a block/);
    expect(() => renderChat("{{ raise_exception('roles must alternate') }}", messages)).toThrow(
      /roles must alternate/,
    );
    expect(() => renderChatWithSpans('{% generation %}a', messages)).toThrow(invalid);
  });
});

describe('encoding', () => {
  const scoredText = (tokenizer: Tokenizer, row: { ids: Int32Array; scored: Uint8Array }): string =>
    tokenizer.decode(row.ids.filter((_, i) => row.scored[i] === 1));

  it.each([
    ['default', DEFAULT_CHAT_TEMPLATE],
    ['without tags', PLAIN],
    [
      'with the closing token outside the tags',
      "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}",
    ],
    [
      'whose prompt opens the reasoning behind its header, a special token',
      "{% for m in messages %}{{ ('<|im_start|>' if m.role == 'assistant' else m.role + ': ') + m.content + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|><think>\\n' }}{% endif %}",
    ],
  ])('scores answers and their closing token: template %s', async (name, chatTemplate) => {
    const tokenizer = await trainTokenizer(join(folder.path, name), 'llama3', { chatTemplate });
    const chat = encodeChat(tokenizer, messages);
    expect(tokenizer.decode(chat.ids)).toBe(renderChat(chatTemplate, messages, options));
    expect(scoredText(tokenizer, chat)).toBe('Paris.<|im_end|>  Madrid\n<|im_end|>');
    expect(chat.ids.filter((id, i) => id === tokenizer.eosId && chat.scored[i] === 1)).toHaveLength(2);
  });

  it('continues a prompt by the very ids that were trained', async () => {
    const tokenizer = await trainTokenizer(join(folder.path, 'prompt'), 'gpt2');
    const whole = encodeChat(tokenizer, messages);
    const prompt = encodeChat(tokenizer, messages.slice(0, 4), { addGenerationPrompt: true });
    expect(whole.ids.subarray(0, prompt.ids.length)).toEqual(prompt.ids);
    expect(whole.scored[prompt.ids.length - 1]).toBe(0);
    expect(whole.scored[prompt.ids.length]).toBe(1);
  });

  it('of rows follows the loss settings, and never scores the first token', async () => {
    const tokenizer = await trainTokenizer(join(folder.path, 'rows'), 'gpt2');
    const only = { loss_on: 'all', assistant_only_loss: true, completion_only_loss: true } as const;
    const everything = { loss_on: 'all', assistant_only_loss: false, completion_only_loss: false } as const;
    const completion = { kind: 'completion', prompt: 'two and', completion: ' two' } as const;
    const row = encodeRow(completion, tokenizer, only);
    expect(tokenizer.decode(row.ids)).toBe('two and two<|im_end|>');
    expect(scoredText(tokenizer, row)).toBe(' two<|im_end|>');
    const rows = [
      completion,
      { kind: 'messages', messages } as const,
      { kind: 'text', text: Buffer.from('plain') } as const,
    ];
    for (const each of rows) {
      const { ids, scored } = encodeRow(each, tokenizer, everything);
      expect([...scored]).toEqual([...ids].map((_, i) => (i === 0 ? 0 : 1)));
    }
    expect(scoredText(tokenizer, encodeRow(rows[1]!, tokenizer, only))).toBe(
      'Paris.<|im_end|>  Madrid\n<|im_end|>',
    );
  });

  it('needs a template', async () => {
    const tokenizer = await trainTokenizer(join(folder.path, 'none'), 'gpt2');
    expect(() => encodeChat({ ...tokenizer, chatTemplate: undefined } as Tokenizer, messages)).toThrow(
      expect.objectContaining({ code: 'template_invalid' }),
    );
  });
});
