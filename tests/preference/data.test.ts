/** Preference data: every form of row as the same ids, what is left out and counted, and what is refused. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type AnswerGroup, encodeGroup } from '../../src/data/preference.ts';
import type { GroupKind } from '../../src/data/shapes/groups.ts';
import { DEFAULT_CHAT_TEMPLATE } from '../../src/tokenizer/chat_template.ts';
import { trainTokenizer } from '../tokenizer/fixture.ts';
import { groupEncoder, turn } from './group_encoder.ts';

const { folder, raw, encoded, shown } = groupEncoder();

describe('pairs', () => {
  it('of text are closed by EOS', async () => {
    const { groups } = await encoded('pairs', [
      { prompt: 'The sky is', chosen: ' blue.', rejected: ' green.', margin: 0.5 },
    ]);
    expect(shown(groups[0]!)).toEqual(['The sky is', ' blue.<|im_end|>', ' green.<|im_end|>']);
    expect(groups[0]).toMatchObject({ margin: 0.5, ranking: [[0], [1]] });
  });

  it('of conversations end where the template ends an answer', async () => {
    const { groups } = await encoded('pairs', [
      {
        prompt: [turn('user', 'Sky?')],
        chosen: [turn('assistant', 'Blue.')],
        rejected: [turn('assistant', 'Green.')],
      },
    ]);
    expect(shown(groups[0]!)).toEqual([
      '<|im_start|>user\nSky?<|im_end|>\n<|im_start|>assistant\n',
      'Blue.<|im_end|>',
      'Green.<|im_end|>',
    ]);
  });

  it.each([
    [
      'explicit, text sides after messages',
      { messages: [turn('user', 'Sky?')], chosen: 'Blue.', rejected: 'Green.' },
    ],
    [
      'implicit',
      {
        chosen: [turn('user', 'Sky?'), turn('assistant', 'Blue.')],
        rejected: [turn('user', 'Sky?'), turn('assistant', 'Green.')],
      },
    ],
    [
      'implicit, beside a prompt in text',
      {
        prompt: 'Sky?',
        chosen: [turn('user', 'Sky?'), turn('assistant', 'Blue.')],
        rejected: [turn('user', 'Sky?'), turn('assistant', 'Green.')],
      },
    ],
  ])('%s', async (_, row) => {
    const explicit = {
      prompt: [turn('user', 'Sky?')],
      chosen: [turn('assistant', 'Blue.')],
      rejected: [turn('assistant', 'Green.')],
    };
    const { groups } = await encoded('pairs', [row, explicit]);
    expect(shown(groups[0]!)).toEqual(shown(groups[1]!));
  });

  it.each([
    ['The sky is blue.', 'The sky is black.', 'The sky is', [' blue.', ' black.']],
    ['The sky is blue.', 'The sky isn’t.', 'The sky', [' is blue.', ' isn’t.']],
    ['Q: sky?\nA: blue', 'Q: sky?\nA: green', 'Q: sky?\nA:', [' blue', ' green']],
  ])('with an implicit prompt in text part at a word: %s', async (chosen, rejected, prompt, answers) => {
    const [group] = await raw('pairs', { chosen, rejected });
    expect(group!.prompt.text).toBe(prompt);
    expect(group!.answers.map(({ text }) => text)).toEqual(answers);
  });

  it('come from rankings, each answer with every worse one', async () => {
    const groups = await raw('pairs', {
      prompt: 'p',
      responses: ['a', 'b', { text: 'c' }, 'd'],
      ranking: [[2], [0, 3]],
    });
    expect(groups.map(({ answers }) => answers.map(({ text }) => text).join(''))).toEqual(['ca', 'cd']);
    expect(groups[0]!.origin).toMatch(/:1#2>0$/);
  });

  it('are trained as sampled, where the tokenizer is the same', async () => {
    const row = {
      prompt: 'a',
      prompt_ids: [5],
      chosen: 'b',
      chosen_ids: [6, 7],
      rejected: 'c',
      rejected_ids: [8],
    };
    const same = await encoded('pairs', [row], { takeIds: true });
    expect(same.groups[0]).toMatchObject({
      prompt: Int32Array.of(5),
      answers: [Int32Array.of(6, 7), Int32Array.of(8)],
    });
    const anew = await encoded('pairs', [row]);
    expect(shown(anew.groups[0]!)).toEqual(['a', 'b<|im_end|>', 'c<|im_end|>']);
  });

  it('give the chat template the variables of their row, for the prompt and its answers alike', async () => {
    const noted = await trainTokenizer(join(folder.path, 'noted'), 'gpt2', {
      chatTemplate: `{% if note %}{{ note }}{% endif %}${DEFAULT_CHAT_TEMPLATE}`,
    });
    const row = {
      prompt: [turn('user', 'Sky?')],
      chosen: [turn('assistant', 'Blue.')],
      rejected: [turn('assistant', 'Green.')],
    };
    const rows = await raw('pairs', row, { ...row, chat_template_kwargs: { note: 'Think.' } });
    const [plain, told] = rows.map((each) =>
      encodeGroup(each, noted, { kind: 'pairs', takeIds: false }, new Map()),
    );
    const texts = ({ prompt, answers }: AnswerGroup) => [prompt, ...answers].map((ids) => noted.decode(ids));
    const [prompt, ...answers] = texts(plain!);
    expect(texts(told!)).toEqual([`Think.${prompt}`, ...answers]);
    expect(answers).toEqual(['Blue.<|im_end|>', 'Green.<|im_end|>']);
  });

  it('that teach nothing are left out and counted', async () => {
    const good = { prompt: 'p', chosen: 'a', rejected: 'b' };
    const long = 'word '.repeat(50);
    const { groups, skips } = await encoded(
      'pairs',
      [
        { ...good, chosen: '' },
        { ...good, rejected: '  ' },
        { ...good, rejected: 'a' },
        { ...good, prompt: long },
        { ...good, chosen: long },
        good,
      ],
      { maxLength: 40, tooLong: 'truncate' },
    );
    expect(groups).toHaveLength(2);
    expect(groups[0]!.answers[0]).toHaveLength(40 - groups[0]!.prompt.length);
    expect([...skips].map(([reason, { count, first }]) => [reason, count, first.split(':').at(-1)])).toEqual([
      ['an answer is empty', 2, '1'],
      ['chosen and rejected are equal', 1, '3'],
      ['the prompt alone fills max_length', 1, '4'],
    ]);
  });

  it('that differ beyond max_length only are equal', async () => {
    const same = 'word '.repeat(30);
    const row = { prompt: 'p', chosen: `${same}a`, rejected: `${same}b` };
    const { skips } = await encoded('pairs', [row], { maxLength: 20, tooLong: 'truncate' });
    expect([...skips.keys()]).toEqual(['chosen and rejected are equal']);
  });

  it('longer than max_length can be dropped', async () => {
    const rows = [
      { prompt: 'p', chosen: 'word '.repeat(30), rejected: 'b' },
      { prompt: 'p', chosen: 'a', rejected: 'b' },
    ];
    const { groups, skips } = await encoded('pairs', rows, { maxLength: 20, tooLong: 'drop' });
    expect(groups).toHaveLength(1);
    expect([...skips.keys()]).toEqual(['longer than max_length']);
  });
});

describe('labels', () => {
  it('are read, and made of pairs', async () => {
    const labelled = { prompt: 'p', completion: 'a', label: true };
    const groups = await raw(
      'labels',
      labelled,
      { ...labelled, completion: 'b', label: false },
      { prompt: 'p', chosen: 'a', rejected: 'b' },
    );
    expect(groups.map(({ desirable, answers }) => [desirable, answers[0]!.text])).toEqual([
      [true, 'a'],
      [false, 'b'],
      [true, 'a'],
      [false, 'b'],
    ]);
    expect(groups[3]!.origin).toMatch(/:3#rejected$/);
  });
});

describe('rankings', () => {
  const answers = { prompt: 'p', responses: ['a', 'b', 'c', 'd'] };

  it('have ties and gaps; what has no rank is not computed', async () => {
    const { groups } = await encoded('rankings', [{ ...answers, ranking: [3, [0, 2]] }]);
    expect(shown(groups[0]!)).toEqual(['p', 'd<|im_end|>', 'a<|im_end|>', 'c<|im_end|>']);
    expect(groups[0]!.ranking).toEqual([[0], [1, 2]]);
  });

  it('come from scores, and from pairs', async () => {
    const groups = await raw(
      'rankings',
      { ...answers, scores: [1, null, 3, 1] },
      {
        prompt: 'p',
        responses: [
          { text: 'a', score: 0 },
          { text: 'b', score: 2 },
        ],
      },
      { prompt: 'p', chosen: 'a', rejected: 'b' },
    );
    expect(groups.map(({ ranking }) => ranking)).toEqual([
      [[2], [0, 3]],
      [[1], [0]],
      [[0], [1]],
    ]);
  });

  it('in which no answer is better than another are left out', async () => {
    const { groups, skips } = await encoded('rankings', [
      { ...answers, ranking: [[0, 1, 2, 3]] },
      { ...answers, scores: [null, null, 2, null] },
    ]);
    expect(groups).toEqual([]);
    expect(skips.get('no answer is better than another')).toMatchObject({ count: 2 });
  });
});

describe('completions', () => {
  it('bring what a teacher thought, its likeliest tokens first', async () => {
    const { groups } = await encoded(
      'completions',
      [
        {
          prompt: 'p',
          completion: 'ab',
          completion_ids: [40, 41],
          top_ids: [
            [40, 50, 60],
            [41, 51],
          ],
          top_log_probs: [
            [-3, -0.5, -1.5],
            [-0.1, -3],
          ],
        },
      ],
      { takeIds: true },
    );
    expect(groups[0]!.teacher).toEqual({
      k: 2,
      ids: Int32Array.of(50, 60, 41, 51),
      logProbs: Float32Array.of(-0.5, -1.5, -0.1, -3),
    });
  });

  it('of conversations are their last turn', async () => {
    const messages = [turn('user', 'a'), turn('assistant', 'b'), turn('user', 'c'), turn('assistant', 'd')];
    const { groups } = await encoded('completions', [{ messages }]);
    expect(shown(groups[0]!)[1]).toBe('d<|im_end|>');
    expect(shown(groups[0]!)[0]).toMatch(/c<\|im_end\|>\n<\|im_start\|>assistant\n$/);
  });
});

describe('a row that does not fit', () => {
  const responses = ['a', 'b'];
  it.each<[GroupKind, object, RegExp]>([
    ['pairs', { prompt: 'p', chosen: 'a' }, /rejected is missing \(the row has prompt, chosen\)/],
    ['pairs', { prompt: 'p', chosen: 'a', rejected: 3 }, /rejected/],
    ['pairs', { prompt: 'p', chosen: 'a', rejected: 'b', margin: 'x' }, /margin must be a number/],
    ['pairs', { chosen: 'a', rejected: 'b' }, /no common beginning/],
    ['pairs', { prompt: 'p', chosen: 'a', rejected: [turn('assistant', 'b')] }, /of the kind that chosen is/],
    [
      'pairs',
      { prompt: [turn('user', 'p')], chosen: [turn('user', 'a')], rejected: [turn('assistant', 'b')] },
      /chosen must begin and end with a message of the assistant/,
    ],
    [
      'pairs',
      { prompt: [{ role: 'user' }], chosen: 'a', rejected: 'b' },
      /prompt\.0\.content must be text, is missing/,
    ],
    ['pairs', { prompt: 'p', chosen: 'a', rejected: 'b', chosen_ids: [1, -1] }, /chosen_ids/],
    [
      'pairs',
      {
        prompt: [turn('user', 'p')],
        chosen: [turn('assistant', 'a')],
        rejected: [turn('assistant', 'b'), turn('user', 'c')],
      },
      /rejected must begin and end with a message of the assistant/,
    ],
    [
      'pairs',
      {
        prompt: [turn('user', 'p')],
        chosen: [turn('assistant', 'a'), turn('user', 'b'), turn('assistant', 'c')],
        chosen_ids: [1, 2],
        rejected: [turn('assistant', 'b')],
      },
      /chosen_ids are of one message, and chosen has 3/,
    ],
    [
      'completions',
      {
        prompt: [turn('user', 'p')],
        completion: [turn('assistant', 'a'), turn('user', 'b'), turn('assistant', 'c')],
      },
      /completion must be one message of the assistant/,
    ],
    ['labels', { prompt: 'p', completion: 'a', label: 1 }, /label must be true or false, is a number/],
    ['rankings', { prompt: 'p', responses }, /no list of scores|must be a number or null/],
    ['rankings', { prompt: 'p', responses, ranking: [0, 2] }, /by number, from 0 to 1/],
    ['rankings', { prompt: 'p', responses, ranking: [0, [1, 0]] }, /names response 0 a second time/],
    ['rankings', { prompt: 'p', responses: [], ranking: [] }, /responses must be a list/],
    ['rankings', { prompt: 'p', responses: [{}], ranking: [0] }, /responses\.0\.text/],
    ['completions', { messages: [turn('assistant', 'a')] }, /nothing before the answer/],
    ['completions', { prompt: 'p', completion: 'a', top_ids: [[1]] }, /top_log_probs/],
    [
      'completions',
      { prompt: 'p', completion: 'a', top_ids: [[1, 2]], top_log_probs: [[-1]] },
      /as many numbers as top_ids/,
    ],
    [
      'completions',
      { prompt: 'p', completion: 'a', top_ids: [[3, 3]], top_log_probs: [[-1, -2]] },
      /top_ids\.0 names a token twice/,
    ],
    [
      'completions',
      { prompt: 'p', completion: 'a', top_ids: [[3, 4]], top_log_probs: [[-0.1, -0.2]] },
      /top_log_probs\.0 are of probabilities that come to 1\.72/,
    ],
    [
      'completions',
      { prompt: 'p', completion: 'a', top_ids: [[3]], top_log_probs: [[0.5]] },
      /list of numbers that are not above 0/,
    ],
  ])('%s %j', async (kind, row, problem) => {
    await expect(raw(kind, row)).rejects.toMatchObject({
      code: 'data_field',
      message: expect.stringMatching(problem),
      path: expect.stringMatching(/rows-\d+\.jsonl:1:/),
    });
  });

  it('has a teacher for another number of tokens', async () => {
    const row = { prompt: 'p', completion: 'a', top_ids: [[1]], top_log_probs: [[-1]] };
    await expect(encoded('completions', [row])).rejects.toMatchObject({
      code: 'data_field',
      message: expect.stringMatching(/1 positions for an answer of 2 tokens/),
    });
  });
});
