/** Shapes of rows: what each becomes, found by looking or by the recipe's `fields`, and where a bad row is to blame. */
import { describe, expect, it } from 'vitest';
import { type RowContent, SupervisedShaper } from '../../src/data/shapes/content.ts';
import { RowError } from '../../src/data/shapes/errors.ts';
import { rowSettings } from '../../src/data/shapes/settings.ts';
import type { ShapedRow } from '../../src/data/shapes/shaper.ts';

function shaped(fields: Record<string, unknown>, settings: object = {}): ShapedRow<RowContent> {
  const row = new SupervisedShaper(rowSettings.parse(settings)).read({ line: 1, end: 0, fields }, 'f:1');
  return row!;
}

const turn = (role: string, content: string | null, more: object = {}) => ({ role, content, ...more });
const said = (from: string, value: string) => ({ from, value });
const [question, answer] = [turn('user', 'Sky?'), turn('assistant', 'Blue.')];
const tool = { type: 'function', function: { name: 'look', parameters: { type: 'object' } } };
const call = { id: 'c1', type: 'function', function: { name: 'look', arguments: { at: 'sky' } } };
const called = [
  question,
  turn('assistant', null, { tool_calls: [call] }),
  turn('tool', 'blue', { tool_call_id: 'c1' }),
  answer,
];

describe('a row', () => {
  it.each<[string, Record<string, unknown>, object, string, object]>([
    ['text', { text: 'a\nb' }, {}, 'text', { kind: 'text', text: 'a\nb' }],
    [
      'text of another field',
      { meta: { body: 'a' }, text: 'no' },
      { fields: { text: 'meta.body' } },
      'text',
      { text: 'a' },
    ],
    [
      'text of a field with a dot in its name',
      { 'meta.body': 'a' },
      { fields: { text: 'meta.body' } },
      'text',
      { text: 'a' },
    ],
    [
      'prompt and completion',
      { prompt: 'p', completion: 'c' },
      {},
      'prompt and completion',
      { kind: 'completion', prompt: 'p', completion: 'c' },
    ],
    [
      'prompt and completion under other names',
      { question: 'p', answers: [{ text: 'c' }] },
      { fields: { prompt: 'question', completion: 'answers.0.text' } },
      'prompt and completion',
      { kind: 'completion', prompt: 'p', completion: 'c' },
    ],
    [
      'prompt and completion as conversations',
      { prompt: [turn('system', 'Short.'), question], completion: [answer] },
      {},
      'prompt and completion',
      { kind: 'messages', messages: [turn('system', 'Short.'), question, answer], completionFrom: 2 },
    ],
    [
      'prompt and completion beside a system text',
      { system: 'Short.', prompt: 'Sky?', completion: 'Blue.' },
      {},
      'prompt and completion',
      { kind: 'messages', messages: [turn('system', 'Short.'), question, answer], completionFrom: 2 },
    ],
    [
      'prompt and completion where the system text is empty in this row',
      { system: null, prompt: 'Sky?', completion: 'Blue.' },
      {},
      'prompt and completion',
      { kind: 'messages', messages: [question, answer], completionFrom: 1 },
    ],
    ['messages', { messages: [question, answer] }, {}, 'messages', { messages: [question, answer] }],
    [
      'variables of the template: the recipe’s, and over them those of the row, but for what is null',
      {
        messages: [question, answer],
        chat_template_kwargs: JSON.stringify({ enable_thinking: true, effort: null, date: 'x' }),
      },
      { chat_template_kwargs: { enable_thinking: false, effort: 'low' } },
      'messages',
      {
        messages: [question, answer],
        templateKwargs: { enable_thinking: true, effort: 'low', date: 'x' },
      },
    ],
    [
      'variables of the recipe, for a completion in conversation',
      { prompt: [question], completion: [answer] },
      { chat_template_kwargs: { enable_thinking: false } },
      'prompt and completion',
      { messages: [question, answer], completionFrom: 1, templateKwargs: { enable_thinking: false } },
    ],
    [
      'messages with tools, as OpenAI has them',
      {
        messages: [
          called[0],
          turn('assistant', null, {
            tool_calls: [{ ...call, function: { name: 'look', arguments: '{"at":"sky"}' } }],
          }),
          ...called.slice(2),
        ],
        tools: [tool],
      },
      {},
      'messages with tools',
      { messages: called, tools: [tool] },
    ],
    [
      'messages of a column of text, tools without a wrapper',
      { messages: JSON.stringify(called), tools: JSON.stringify([tool.function]) },
      {},
      'messages with tools',
      { messages: called, tools: [tool] },
    ],
    [
      'messages of a table, where each has every member',
      { messages: called.map((message) => ({ name: null, tool_calls: null, weight: null, ...message })) },
      {},
      'messages',
      { messages: called },
    ],
    [
      'messages with weights and parts of text',
      {
        messages: [
          turn('user', '', {
            content: [
              { type: 'text', text: 'a' },
              { type: 'text', text: 'b' },
            ],
          }),
          { ...answer, weight: 0 },
        ],
      },
      {},
      'messages',
      { messages: [turn('user', 'a\nb'), { ...answer, weight: 0 }] },
    ],
    [
      'ShareGPT with a system field',
      { system: 'Short.', conversations: [said('human', 'Sky?'), said('gpt', 'Blue.')] },
      {},
      'ShareGPT',
      { messages: [turn('system', 'Short.'), question, answer] },
    ],
    [
      'ShareGPT with a function call',
      {
        conversations: [
          said('human', 'Sky?'),
          said('function_call', '{"name":"look","arguments":{"at":"sky"}}'),
          said('observation', 'blue'),
          said('gpt', 'Blue.'),
        ],
      },
      {},
      'ShareGPT',
      {
        messages: [
          question,
          turn('assistant', null, {
            tool_calls: [{ type: 'function', function: { name: 'look', arguments: { at: 'sky' } } }],
          }),
          turn('tool', 'blue'),
          answer,
        ],
      },
    ],
    [
      'Alpaca',
      { instruction: 'Sum.', input: '1 + 1', output: '2', text: '### Instruction: ...' },
      {},
      'Alpaca',
      { messages: [turn('user', 'Sum.\n1 + 1'), turn('assistant', '2')] },
    ],
    [
      'Alpaca with system and history',
      {
        instruction: 'Sky?',
        input: '',
        output: 'Blue.',
        system: 'Short.',
        history: [['Grass?', 'Green.']],
      },
      {},
      'Alpaca',
      {
        messages: [
          turn('system', 'Short.'),
          turn('user', 'Grass?'),
          turn('assistant', 'Green.'),
          question,
          answer,
        ],
      },
    ],
    [
      'one side of a pair',
      { chosen: [question, answer], rejected: [question, answer] },
      { fields: { messages: 'chosen' } },
      'messages',
      { messages: [question, answer] },
    ],
  ])('of %s', (_, fields, settings, shape, content) => {
    const row = shaped(fields, settings);
    expect(row.shape).toBe(shape);
    expect(row.content).toMatchObject(content);
    if (row.content.kind === 'messages') {
      expect(row.content.messages).toEqual((content as { messages: unknown }).messages);
    }
  });

  it('of a table of text may have conversations as JSON; other JSON is text', () => {
    const row = { prompt: JSON.stringify([question]), completion: JSON.stringify([answer]) };
    expect(shaped(row).content).toEqual({
      kind: 'messages',
      messages: [question, answer],
      completionFrom: 1,
    });
    const code = { prompt: '[{"role": 1}, {"a": 2}]', completion: '[{"role": "x"}]' };
    expect(shaped(code).content).toEqual({ kind: 'completion', ...code });
  });

  it('of several shapes is read as the first, and says so', () => {
    const fields = { messages: [question, answer], text: 'x', prompt: 'p' };
    expect(shaped(fields)).toMatchObject({ shape: 'messages', besides: ['text'] });
    const named = shaped(fields, { fields: { text: 'text' } });
    expect(named).toMatchObject({ shape: 'text', besides: [] });
  });

  it.each<[string, Record<string, unknown>, string, RegExp, object?]>([
    ['nothing that is known', { txt: 'a' }, 'text', /is missing \(the row has txt\)/],
    ['no fields', {}, 'text', /the row has no fields/],
    ['null where text belongs', { text: null }, 'text', /is null/],
    [
      'null where the recipe looks',
      { a: { b: null }, text: 'x' },
      'a.b',
      /is null/,
      { fields: { prompt: 'a.b', completion: 'c' } },
    ],
    ['half a shape', { prompt: 'p', n: 1 }, 'completion', /is missing \(the row has prompt, n\)/],
    ['half of Alpaca', { instruction: 'p' }, 'output', /is missing/],
    ['a number as text', { text: 5 }, 'text', /must be text, is a number/],
    ['a field that the recipe names', { text: 'a' }, 'body', /is missing/, { fields: { text: 'body' } }],
    ['messages that are none', { messages: 'hi' }, 'messages', /must be a list of messages, is a string/],
    ['no content', { messages: [turn('user', null)] }, 'messages.0.content', /must be text, is null/],
    ['no role', { messages: [{ content: 'x' }] }, 'messages.0.role', /must be text, is missing/],
    [
      'a tool call of a user',
      { messages: [turn('user', '', { tool_calls: [call] })] },
      'messages.0.role',
      /as user/,
    ],
    [
      'arguments that are no object',
      {
        messages: [turn('assistant', null, { tool_calls: [{ function: { name: 'f', arguments: '[1]' } }] })],
      },
      'messages.0.tool_calls.0.function.arguments',
      /the JSON of one/,
    ],
    [
      'a picture',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] },
      'messages.0.content.0.type',
      /is "image_url"/,
    ],
    ['half a weight', { messages: [{ ...answer, weight: 0.5 }] }, 'messages.0.weight', /0 or 1, is 0\.5/],
    [
      'an unknown speaker',
      { conversations: [said('narrator', 'x')] },
      'conversations.0.from',
      /"narrator"; known/,
    ],
    [
      'a speaker out of the prototype',
      { conversations: [said('constructor', 'x')] },
      'conversations.0.from',
      /known/,
    ],
    [
      'two system texts',
      { system: 'a', messages: [turn('system', 'b'), question, answer] },
      'system',
      /another text than the system message/,
    ],
    [
      'a broken history',
      { instruction: 'a', output: 'b', history: [['q']] },
      'history.0',
      /question and its answer/,
    ],
    ['an empty instruction', { instruction: '', output: 'b' }, 'instruction', /is empty/],
    ['tools without names', { messages: [question, answer], tools: [{}] }, 'tools.0.name', /must be text/],
    [
      'variables that are none',
      { messages: [question, answer], chat_template_kwargs: 'no' },
      'chat_template_kwargs',
      /must be an object/,
    ],
    [
      'a variable that is the template’s own',
      { messages: [question, answer], chat_template_kwargs: { add_generation_prompt: true } },
      'chat_template_kwargs.add_generation_prompt',
      /is no variable of a template/,
    ],
    ['a preference pair', { prompt: 'p', chosen: 'a', rejected: 'b' }, 'text', /is a preference pair/],
  ])('with %s is to blame by field', (_, fields, field, problem, settings) => {
    const error = caught(() => shaped(fields, settings));
    expect(error).toMatchObject({ code: 'data_field', origin: 'f:1', field, path: `f:1:${field}` });
    expect(error.problem).toMatch(problem);
    expect(error.hint).toBeTruthy();
  });

  it('that another name would make fit is told which', () => {
    const { hint } = caught(() => shaped({ question: 'a', answer: 'b' }));
    expect(hint).toContain('fields: { prompt: question, completion: answer }');
    expect(caught(() => shaped({ content: 'a' })).hint).toContain('fields: { text: content }');
  });
});

function caught(work: () => unknown): RowError {
  try {
    work();
  } catch (error) {
    if (error instanceof RowError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
