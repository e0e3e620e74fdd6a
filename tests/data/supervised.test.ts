/** Which answers of a conversation count, and the check that what is scored is what the assistant says. */
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { remarkTexts } from '../../src/data/remarks.ts';
import type { RowContent } from '../../src/data/shapes/content.ts';
import { encodeRow, type LossSettings } from '../../src/data/supervised.ts';
import { DEFAULT_CHAT_TEMPLATE } from '../../src/tokenizer/chat_template.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { trainTokenizer } from '../tokenizer/fixture.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);

const settings: LossSettings = { loss_on: 'all', assistant_only_loss: true, completion_only_loss: true };
const user = (content: string) => ({ role: 'user', content });
const answer = (content: string, rest: object = {}) => ({ role: 'assistant', content, ...rest });
const chat = (messages: object[], completionFrom?: number) =>
  ({ kind: 'messages', messages, ...(completionFrom === undefined ? {} : { completionFrom }) }) as RowContent;

/** Runs of scored text. */
function scored(tokenizer: Tokenizer, row: RowContent, changed: Partial<LossSettings> = {}): string[] {
  const { ids, scored } = encodeRow(row, tokenizer, { ...settings, ...changed });
  const runs: number[][] = [];
  for (const [i, id] of ids.entries()) {
    if (scored[i] !== 1) continue;
    if (i === 0 || scored[i - 1] !== 1) runs.push([]);
    runs.at(-1)!.push(id);
  }
  return runs.map((run) => tokenizer.decode(run));
}

describe('answers that count', () => {
  const turns = [user('a?'), answer('one'), user('b?'), answer('two'), user('c?'), answer('three')];
  const weighted = turns.map((turn, i) => ({
    ...turn,
    ...(i === 1 ? { weight: 0 } : i === 3 ? { weight: 1 } : {}),
  }));

  it('are all, the last, or chosen by their weight, which 0 takes out of each', async () => {
    const tokenizer = await trainTokenizer(join(folder.path, 'loss'), 'gpt2');
    const close = (...texts: string[]) => texts.map((text) => `${text}<|im_end|>`);
    expect(scored(tokenizer, chat(turns))).toEqual(close('one', 'two', 'three'));
    expect(scored(tokenizer, chat(turns), { loss_on: 'last' })).toEqual(close('three'));
    expect(scored(tokenizer, chat(turns), { loss_on: 'weight' })).toEqual([]);
    expect(scored(tokenizer, chat(weighted))).toEqual(close('two', 'three'));
    expect(scored(tokenizer, chat(weighted), { loss_on: 'weight' })).toEqual(close('two'));
    const unwanted = [...turns.slice(0, 5), answer('three', { weight: 0 })];
    expect(scored(tokenizer, chat(unwanted), { loss_on: 'last' })).toEqual([]);
  });

  it('are those of the completion, where a conversation is one', async () => {
    const tokenizer = await trainTokenizer(join(folder.path, 'completion'), 'gpt2');
    const close = (...texts: string[]) => texts.map((text) => `${text}<|im_end|>`);
    expect(scored(tokenizer, chat(turns, 4))).toEqual(close('three'));
    expect(scored(tokenizer, chat(turns, 2), { completion_only_loss: false })).toEqual(
      close('one', 'two', 'three'),
    );
    const [whole] = scored(tokenizer, chat(turns, 4), { assistant_only_loss: false });
    expect(whole).toBe('three<|im_end|>\n');
  });

  it('have to be told apart where not all of them count', async () => {
    // One block around several answers.
    const template = `{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}{% generation %}{{ messages | selectattr('role', 'equalto', 'assistant') | map(attribute='content') | join(' ') }}{{ eos_token }}{% endgeneration %}`;
    const tokenizer = await trainTokenizer(join(folder.path, 'block'), 'gpt2', { chatTemplate: template });
    const row = chat([user('?'), answer('one'), answer('two')]);
    expect(scored(tokenizer, row)).toEqual(['one two<|im_end|>']);
    expect(() => scored(tokenizer, row, { loss_on: 'last' })).toThrow(
      expect.objectContaining({ code: 'template_invalid' }),
    );
  });
});

describe('remarks', () => {
  const of = async (name: string, chatTemplate = DEFAULT_CHAT_TEMPLATE) => {
    const tokenizer = await trainTokenizer(join(folder.path, name), 'gpt2', { chatTemplate });
    return (row: RowContent) => encodeRow(row, tokenizer, settings).remarks ?? [];
  };

  it('tell of the text of special tokens, as it becomes the token; in plain text it stays text', async () => {
    const told = await of('special');
    const remark = (detail: string) => [{ kind: 'special-texts', detail }];
    expect(told(chat([user('say <|im_end|>'), answer('no')]))).toEqual(remark('<|im_end|>'));
    expect(told(chat([user('?'), answer('a<|im_start|>b')]))).toEqual(remark('<|im_start|>'));
    expect(told(chat([user('<|im_en|>'), answer('im_end')]))).toEqual([]);
    expect(told({ kind: 'completion', prompt: '<|im_end|>', completion: 'x' })).toEqual([]);
  });

  it('tell of roles that neither chats nor the template know', async () => {
    const turns = [user('?'), { role: 'bot', content: 'no' }, user('?'), answer('yes')];
    expect((await of('roles'))(chat(turns))).toEqual([{ kind: 'roles', detail: 'bot' }]);
    const named = `{# 'bot' #}${DEFAULT_CHAT_TEMPLATE}`;
    expect((await of('named-roles', named))(chat(turns))).toEqual([]);
    const usual = ['system', 'developer', 'tool'].map((role) => ({ role, content: 'x' }));
    expect((await of('usual-roles'))(chat([...usual, user('?'), answer('yes')]))).toEqual([]);
  });

  it('tell of reasoning that the template leaves out', async () => {
    const thought = (text: string) => answer('yes', { reasoning_content: text });
    const turns = [user('?'), answer('no'), user('?'), thought('Hm.\n')];
    expect((await of('silent'))(chat(turns))).toEqual([{ kind: 'reasoning', detail: 'message 4' }]);
    const content = "message['content']";
    const thinking = DEFAULT_CHAT_TEMPLATE.replaceAll(
      content,
      `((message.reasoning_content | trim) if message.reasoning_content else '') + ${content}`,
    );
    const kept = await of('thinking', thinking);
    expect(kept(chat(turns))).toEqual([]);
    expect(kept(chat([user('?'), thought('')]))).toEqual([]);
  });

  it('are one text a kind, with how many rows and the first', () => {
    const remark = (detail: string) => [{ kind: 'roles' as const, detail }];
    const rows = [
      { origin: 'f:1' },
      { origin: 'f:2', remarks: remark('bot') },
      { origin: 'f:3', remarks: remark('ai') },
    ];
    expect(remarkTexts(rows)).toEqual([
      { kind: 'roles', text: expect.stringMatching(/^Messages of 2 of 3 rows .*\(first f:2: bot\)/) },
    ]);
    expect(remarkTexts([{ origin: 'f:1', remarks: [] }])).toEqual([]);
  });
});

describe('the check of a row', () => {
  const template = (content: string) => DEFAULT_CHAT_TEMPLATE.replaceAll("message['content']", content);
  const tokenizer = (name: string, chatTemplate: string) =>
    trainTokenizer(join(folder.path, name), 'llama3', { chatTemplate });

  it('lets templates trim an answer, and leave reasoning out', async () => {
    const trims = await tokenizer('trims', template("(message['content'] | trim)"));
    expect(scored(trims, chat([user('?'), answer(' yes\n')]))).toEqual(['yes<|im_end|>']);
    const strips = await tokenizer('strips', template("message['content'].split('</think>')[-1]"));
    expect(scored(strips, chat([user('?'), answer('<think>hm</think>yes')]))).toEqual(['yes<|im_end|>']);
  });

  it.each([
    ['cut short', "message['content'][:3]", 'it says "Paris.", scored is "Par<|im_end|>"'],
    ['left out', "''", 'it says "Paris.", scored is "<|im_end|>"'],
    ['in capitals', "(message['content'] | upper)", 'it says "Paris.", scored is "PARIS.<|im_end|>"'],
  ])('names the row whose answer is %s', async (name, content, problem) => {
    const of = await tokenizer(name, template(content));
    const row = chat([user('France?'), answer('Paris.')]);
    expect(() => scored(of, row)).toThrow(
      expect.objectContaining({
        code: 'template_changes_answer',
        message: `The chat template does not keep message 2 (assistant): ${problem}.`,
        path: 'messages.1',
      }),
    );
  });

  it('names the row whose calls are lost', async () => {
    const of = await trainTokenizer(join(folder.path, 'calls'), 'gpt2');
    const call = { function: { name: 'get_weather', arguments: {} } };
    expect(() => scored(of, chat([user('?'), answer('', { tool_calls: [call] })]))).toThrow(
      /message 2 .*it calls get_weather/,
    );
  });
});
