/** Prompts of rollouts: what is read, what is refused and where, which fit, and in what order they come. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plainRows } from '../../src/data/shapes/read.ts';
import { fitPrompts, type Prompt, PromptOrder, readPrompts } from '../../src/rollout/prompts.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { trainTokenizer } from '../tokenizer/fixture.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-prompts-'));
let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await trainTokenizer(join(dir, 'tokenizer'), 'gpt2');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('prompts', () => {
  const write = (name: string, rows: unknown[]) => {
    const path = join(dir, name);
    writeFileSync(path, rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'));
    return path;
  };
  it('are texts, messages, conversations without their answers, rows of responses', async () => {
    const turn = { role: 'user', content: 'Who?' };
    const path = write('prompts.jsonl', [
      { prompt: 'Who?', answer: 'Anna' },
      { prompt: [turn], answer: 'Anna' },
      { messages: [turn, { role: 'assistant', content: 'Anna.' }] },
      { id: 'x', prompt: 'Who?', prompt_ids: [1], fields: { answer: 'Anna' }, responses: [] },
    ]);
    const chats = await readPrompts(plainRows([path]), tokenizer, true);
    for (const { ids, text } of chats) expect([text, [...ids]]).toEqual(['Who?', [...chats[0]!.ids]]);
    expect(chats.map(({ fields }) => fields)).toEqual([
      { answer: 'Anna' },
      { answer: 'Anna' },
      { completion: 'Anna.' },
      { answer: 'Anna' },
    ]);
    const raw = await readPrompts(plainRows([path]), tokenizer, false);
    expect([...raw[0]!.ids]).toEqual([...tokenizer.encode('Who?')]);
    expect(raw[0]!.messages).toBeUndefined();
  });
  it.each([
    ['not JSON', '{', 'data_syntax'],
    ['no object', '3', 'data_syntax'],
    ['no prompt', { answer: 'x' }, 'data_field'],
    ['an empty prompt', { prompt: '' }, 'data_field'],
    ['an answer only', { messages: [{ role: 'assistant', content: 'x' }] }, 'data_field'],
    ['a number as content', { messages: [{ role: 'user', content: 3 }] }, 'data_field'],
  ])('are refused by file and line: %s', async (_, row, code) => {
    const path = write('bad.jsonl', [{ prompt: 'fine' }, row]);
    await expect(readPrompts(plainRows([path]), tokenizer, false)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(`${path}:2`),
    });
  });
  it('that leave no room for a completion are told apart', () => {
    const ofLengths = [3, 2, 4].map(
      (length, i): Prompt => ({
        origin: `p:${i + 1}`,
        text: '',
        messages: undefined,
        ids: new Int32Array(length),
        fields: {},
      }),
    );
    const { prompts, tooLong } = fitPrompts(ofLengths, 8, 5);
    expect([prompts.length, tooLong.map(({ origin }) => origin)]).toEqual([2, ['p:3']]);
  });
  it('come in a new order each time, all of them', () => {
    const order = new PromptOrder(20, 1);
    const epochs = [0, 1].map((epoch) => Array.from({ length: 20 }, (_, i) => order.at(epoch * 20 + i)));
    for (const epoch of epochs) expect(new Set(epoch).size).toBe(20);
    expect(epochs[0]).not.toEqual(epochs[1]);
    expect(order.at(3)).toBe(epochs[0]![3]);
  });
});
