/** Conversations for tests of chat templates: each of the things that templates treat in their own way. */
import type { ChatMessage } from '../../src/tokenizer/chat_template.ts';

export interface TestChat {
  messages: ChatMessage[];
  tools?: Record<string, unknown>[];
}

const tools = [
  {
    type: 'function',
    function: {
      name: 'get_weather',
      description: 'Weather of a "city" é.',
      parameters: {
        type: 'object',
        properties: {
          city: { type: 'string', description: 'Name' },
          days: { type: 'integer', enum: [1, 2] },
        },
        required: ['city'],
      },
    },
  },
];

const call = (id: string, args: unknown) => ({
  type: 'function',
  id,
  function: { name: 'get_weather', arguments: args },
});
const user = (content: string): ChatMessage => ({ role: 'user', content });
const answer = (content: string | null, rest: object = {}): ChatMessage => ({
  role: 'assistant',
  content,
  ...rest,
});
const result = (id: string, content: string): ChatMessage => ({
  role: 'tool',
  tool_call_id: id,
  name: 'get_weather',
  content,
});
const ROME = 'abcdefgh1';
const OSLO = 'abcdefgh2';

export const CHATS = {
  single: { messages: [user('Capital of "France" & <Spain>?'), answer('Paris, Madrid.')] },
  spaces: { messages: [user('  two\n\n '), answer(' 2.\n\n second \n')] },
  system: {
    messages: [
      { role: 'system', content: 'Be brief.\n' },
      user('é 🙂'),
      answer('ho'),
      user('and?'),
      answer('<b>so</b>'),
    ],
  },
  repeated: { messages: [user('a'), answer('b'), user('a'), answer('b'), user('c'), answer('b')] },
  thinking: {
    messages: [
      user('1+1?'),
      answer('<think>\none and one\n</think>\n\n2'),
      user('2+2?'),
      answer('<think>\ntwo and two\n</think>\n\n4'),
    ],
  },
  reasoning: {
    messages: [
      user('1+1?'),
      answer('2', { reasoning_content: 'one and one' }),
      user('2+2?'),
      answer('4', { reasoning_content: 'two and two' }),
    ],
  },
  calls: {
    tools,
    messages: [
      { role: 'system', content: 'Use tools.' },
      user('Weather in Rome?'),
      answer('', {
        tool_calls: [call(ROME, { city: 'Romé "x"', days: 2, hot: true, none: null, list: [1, 2.5] })],
      }),
      result(ROME, 'sunny'),
      answer('It is sunny.'),
      user('Thanks'),
      answer('Welcome.'),
    ],
  },
  'two calls': {
    tools,
    messages: [
      user('Rome and Oslo?'),
      answer('I look.', { tool_calls: [call(ROME, { city: 'Rome' }), call(OSLO, { city: 'Oslo' })] }),
      result(ROME, 'sunny'),
      result(OSLO, 'snow'),
      answer('Sun, snow.'),
    ],
  },
  'null content': {
    tools,
    messages: [
      user('Rome?'),
      answer(null, { tool_calls: [call(ROME, { city: 'Rome' })] }),
      result(ROME, 'sunny'),
      answer('Sun.'),
    ],
  },
  'arguments as text': {
    tools,
    messages: [
      user('Rome?'),
      answer('', { tool_calls: [call(ROME, '{"city": "Rome"}')] }),
      result(ROME, 'sunny'),
      answer('Sun.'),
    ],
  },
} satisfies Record<string, TestChat>;
