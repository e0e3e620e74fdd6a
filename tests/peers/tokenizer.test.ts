/**
 * Equality with Hugging Face `tokenizers` and `transformers`: merges of its trainer, ids of our files loaded there,
 * chat templates as rendered there.
 */
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeChat } from '../../src/tokenizer/chat.ts';
import { type ChatMessage, DEFAULT_CHAT_TEMPLATE, renderChat } from '../../src/tokenizer/chat_template.ts';
import type { BytePattern } from '../../src/tokenizer/split_patterns.ts';
import { generatedText, temporaryFolder } from '../data/stage_context.ts';
import { SPECIALS, trainingDocuments, trainTokenizer } from '../tokenizer/fixture.ts';
import { fuzzTexts, hasPeer, peer } from './tokenizer_peer.ts';

interface Encoded {
  ids: number[][];
  text: string[];
  auto_ids: number[][];
  auto_text: string[];
  eos: number;
  bos: number;
  size: number;
  fast: boolean;
}

describe.skipIf(!hasPeer)('tokenizers and transformers', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);

  const trainings: [BytePattern, number, number][] = [
    ['gpt2', 600, 0],
    ['cl100k', 600, 2],
    ['llama3', 5000, 3],
  ];
  it.each(trainings)('give the same vocabulary and ids: %s', async (pattern, merges, minFrequency) => {
    const dir = join(folder.path, pattern);
    const tokenizer = await trainTokenizer(dir, pattern, { merges, minFrequency, bosToken: '<s>' });
    const json = JSON.parse(tokenizer.files.get('tokenizer.json')!) as {
      model: { vocab: Record<string, number>; merges: [string, string][] };
    };
    const trained = peer<{ vocab: Record<string, number>; merges: [string, string][] }>({
      task: 'train',
      documents: trainingDocuments(),
      pattern,
      merges,
      min_frequency: minFrequency,
      special_tokens: SPECIALS,
    });
    expect(json.model.merges).toEqual(trained.merges);
    expect(json.model.vocab).toEqual(trained.vocab);

    const texts = [...fuzzTexts(1500), ...trainingDocuments(), generatedText(9999, 2000)];
    const theirs = peer<Encoded>({ task: 'encode', folder: dir, texts });
    const ours = texts.map((text) => [...tokenizer.encodeWithSpecials(text)]);
    for (const [i, text] of texts.entries()) {
      expect(ours[i], JSON.stringify(text)).toEqual(theirs.ids[i]);
      expect(tokenizer.decode(ours[i]!), JSON.stringify(text)).toBe(theirs.text[i]);
    }
    expect(theirs.auto_ids).toEqual(theirs.ids);
    expect(theirs.auto_text).toEqual(theirs.text);
    expect(theirs).toMatchObject({
      eos: tokenizer.eosId,
      bos: tokenizer.bosId,
      size: tokenizer.vocabSize,
      fast: true,
    });
  });

  const chats: ChatMessage[][] = [
    [
      { role: 'user', content: 'Capital of "France" & <Spain>?' },
      { role: 'assistant', content: ' Paris,\n\n and Madrid. ' },
    ],
    [
      { role: 'system', content: 'Be brief.\n' },
      { role: 'user', content: 'é 🙂' },
      { role: 'assistant', content: 'ho' },
      { role: 'user', content: '\t' },
      { role: 'assistant', content: '' },
    ],
  ];
  const templates: Record<string, string> = {
    default: DEFAULT_CHAT_TEMPLATE,
    'blocks and white space': `
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set system = '' %}
    {%- set rest = messages %}
{%- endif %}
{{ bos_token }}{% if system %}[{{ system }}]
{% endif %}
{% for message in rest %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('roles must alternate') }}
    {% endif %}
    {% if message['role'] == 'user' %}
  Q: {{ message['content'] | trim }}
    {% else %}
  A:
    {% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}

    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
  A:
{% endif %}`,
    'filters, macros and tojson': `{%- macro turn(m) -%}<{{ m.role | upper }}>{{ m | tojson }}{{ '\\n' }}{%- endmacro -%}
{%- set ns = namespace(count=0) -%}
{%- for m in messages -%}{%- set ns.count = ns.count + 1 -%}{{ turn(m) }}{%- endfor -%}
{{ ns.count }}{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 1, -2) %}{{ i }}{% endfor %}{{ messages | map(attribute='role') | join(',') }}{% if tools is none %} none{% endif %}{% if add_generation_prompt %}<ASSISTANT>{% endif %}`,
  };
  it.each(Object.entries(templates))('render the same chats: %s', async (name, chatTemplate) => {
    const dir = join(folder.path, `chat ${name}`);
    const tokenizer = await trainTokenizer(dir, 'llama3', { chatTemplate, bosToken: '<s>' });
    const mask = chatTemplate.includes('generation %}');
    const theirs = peer<{ text: string; prompt: string; ids: number[]; mask: number[] }[]>({
      task: 'chat',
      folder: dir,
      chats,
      mask,
    });
    const options = { bosToken: '<s>', eosToken: '<|im_end|>' };
    for (const [i, messages] of chats.entries()) {
      expect(renderChat(chatTemplate, messages, options)).toBe(theirs[i]!.text);
      const prompt = renderChat(chatTemplate, messages.slice(0, -1), {
        ...options,
        addGenerationPrompt: true,
      });
      expect(prompt).toBe(theirs[i]!.prompt);
      if (!mask) continue;
      // These templates begin an answer on a new line, where a token begins too, so the marks are comparable.
      const chat = encodeChat(tokenizer, messages);
      const scored = (ids: number[], kept: ArrayLike<number>): string =>
        tokenizer.decode(ids.filter((_, k) => kept[k] === 1));
      expect(scored([...chat.ids], chat.scored)).toBe(scored(theirs[i]!.ids, theirs[i]!.mask));
    }
  });
});
