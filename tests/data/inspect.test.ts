/** What `inspect` says of files. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inspect } from '../../src/data/queries/inspect.ts';
import { ask, fact, queriedFolder, section } from './queried_folder.ts';

const { folder, write, context } = queriedFolder();

describe('inspect', () => {
  it('says what a file holds', async () => {
    const chats = Array.from({ length: 20 }, (_, i) => ({
      messages: [
        { role: 'user', content: `What is the capital of the country number ${i % 10}?` },
        { role: 'assistant', content: 'The capital of that country is a city with a long name.' },
      ],
      stars: i,
    }));
    write('many.jsonl', [...chats, { what: 'is this' }]);
    const page = await inspect(ask({ query: 'inspect', in: ['many.jsonl'] }), context);
    expect(fact(page, 'What it holds', 'rows')).toBe(21);
    expect(fact(page, 'What it holds', 'duplicates')).toBe(10);
    expect(fact(page, 'What it holds', 'do not fit')).toBe(1);
    expect(fact(page, 'What it holds', 'shape')).toContain('messages');
    expect(section(page, 'rows', 'Rows that do not fit').rows[0]!.origin).toContain('many.jsonl:21');
    expect(section(page, 'table', 'Fields').rows.map((row) => row.slice(0, 3))).toEqual([
      ['messages', 20, 'list of object'],
      ['stars', 20, 'number'],
      ['what', 1, 'text'],
    ]);
    expect(section(page, 'table', 'Languages').rows[0]!.slice(0, 2)).toEqual(['en', 20]);
    expect(section(page, 'histogram', 'Length of rows').summary!.count).toBe(21);
    const few = await inspect(ask({ query: 'inspect', in: ['many.jsonl'], max_rows: 5 }), context);
    expect(fact(few, 'What it holds', 'rows')).toBe(5);
  });

  it('says what the shape of a row that does not fit has', async () => {
    write('misfit.jsonl', [{ messages: [{ role: 'user', content: 7 }] }, { prompt: 'a', completion: 'b' }]);
    const page = await inspect(ask({ query: 'inspect', in: ['misfit.jsonl'] }), context);
    const misfits = section(page, 'facts', 'What it holds').facts.find(({ name }) => name === 'do not fit')!;
    expect(misfits.value).toBe(1);
    expect(misfits.note).toMatch(/^A row has `messages` with role and content [^;]*\.$/);
  });

  it.each([
    [
      'rejected must be of the kind',
      { prompt: 'p', chosen: 'a', rejected: [{ role: 'user', content: 'b' }] },
    ],
    ['ranking.1', { prompt: 'p', responses: ['a', 'b'], ranking: [[0], [0, 1]] }],
    ['scores', { prompt: 'p', responses: ['a', 'b'], scores: [1] }],
    ['prompt is missing', { completion: 'a', label: true }],
  ])('sees that preference stages would refuse a row: %s', async (problem, row) => {
    write('preferred.jsonl', [row, { prompt: 'p', responses: ['a', 'b'], ranking: [[1], [0]] }]);
    const page = await inspect(ask({ query: 'inspect', in: ['preferred.jsonl'] }), context);
    expect(fact(page, 'What it holds', 'do not fit')).toBe(1);
    expect(section(page, 'rows', 'Rows that do not fit').rows[0]!.label).toContain(problem);
  });

  it('for a model shows what is scored', async () => {
    write('model.jsonl', [{ prompt: 'Say it: ', completion: 'it' }]);
    const page = await inspect(
      ask({ query: 'inspect', in: ['model.jsonl'], model: join(folder.path, 'tokenizer') }),
      context,
    );
    const [row] = section(page, 'rows', 'Examples').rows;
    expect(row!.spans).toEqual([
      { text: 'Say it: ', marked: false },
      { text: 'it<|im_end|>', marked: true },
    ]);
    expect(fact(page, 'What it holds', 'scored')).toBeGreaterThan(1);
  });

  it('tells how rows without a shape could be read, and sees fields of the wrong type', async () => {
    write('other.jsonl', [{ question: 'Who?', answer: 'I' }, { text: 12 }, { text: 'fine' }]);
    const page = await inspect(ask({ query: 'inspect', in: ['other.jsonl'] }), context);
    const misfits = section(page, 'facts', 'What it holds').facts.find(({ name }) => name === 'do not fit')!;
    expect(misfits.value).toBe(2);
    expect(misfits.note).toContain('fields: { prompt: question, completion: answer }');
    const settings = { fields: { prompt: 'question', completion: 'answer' } };
    const mapped = await inspect(ask({ query: 'inspect', in: ['other.jsonl'], settings }), context);
    expect(fact(mapped, 'What it holds', 'shape')).toContain('prompt and completion');
  });

  it.each([
    ['preference pairs', { prompt: 'p', chosen: 'a', rejected: 'b' }],
    ['labelled completions (KTO)', { prompt: 'p', completion: 'a', label: true }],
    ['completions with a label', { prompt: 'p', completion: 'a', label: 'sports' }],
    ['Alpaca', { instruction: 'i', output: 'o' }],
    ['prompt and completion', { prompt: 'p', completion: 'a' }],
    ['prompts with answers', { prompt: 'p', answer: 'a' }],
    ['Alpaca (rows also have text: not read)', { instruction: 'i', output: 'o', text: 't' }],
  ])('says %s, and of what else a row has only what is not read with it', async (shape, row) => {
    write('shape.jsonl', [row]);
    const page = await inspect(ask({ query: 'inspect', in: ['shape.jsonl'] }), context);
    expect(fact(page, 'What it holds', 'shape')).toBe(`1 row: ${shape}`);
    expect(fact(page, 'What it holds', 'do not fit')).toBe(0);
  });

  it('looks into the rows that where keeps, and says how many those are', async () => {
    const row = (language: string) => ({ text: `Something said in ${language}`, language });
    write('kept.jsonl', [row('en'), row('de'), row('de')]);
    const settings = { where: { language: 'en', stars: { exists: false } } };
    const page = await inspect(ask({ query: 'inspect', in: ['kept.jsonl'], settings }), context);
    const [rows, left] = section(page, 'facts', 'What it holds').facts;
    expect([rows!.value, left]).toEqual([
      3,
      { name: 'left out', value: 2, note: 'where keeps 1 of 3 rows; no row has stars' },
    ]);
    expect(fact(page, 'What it holds', 'duplicates')).toBe(0);
    expect(section(page, 'histogram', 'Length of rows').summary!.count).toBe(1);
    expect(section(page, 'rows', 'Examples').rows.length).toBe(1);
  });

  it('counts rows that cannot be read as such, not as empty ones', async () => {
    writeFileSync(join(folder.path, 'broken.jsonl'), '{"text": "fine"}\n{"text": \n{"text": \n');
    const page = await inspect(ask({ query: 'inspect', in: ['broken.jsonl'] }), context);
    const facts = ['rows', 'do not fit', 'duplicates'].map((name) => fact(page, 'What it holds', name));
    expect(facts).toEqual([3, 2, 0]);
    expect(section(page, 'histogram', 'Length of rows').summary!.count).toBe(1);
    expect(section(page, 'table', 'Languages').note).toMatch(/^Of 1 row/);
  });

  it('refuses settings that are none', async () => {
    await expect(
      inspect(ask({ query: 'inspect', in: ['docs.jsonl'], settings: { formatt: 'text' } }), context),
    ).rejects.toMatchObject({ code: 'recipe_invalid', path: 'formatt', hint: 'Did you mean format?' });
    const settings = { where: { language: { like: 'en' } } };
    await expect(
      inspect(ask({ query: 'inspect', in: ['docs.jsonl'], settings }), context),
    ).rejects.toMatchObject({
      code: 'recipe_invalid',
      path: expect.stringMatching(/^where\.language/),
    });
  });
});
