/** Questions about data: on raw files, on a prepared dataset, and on what the ledgers of finished stages say. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { painter } from '../../src/cli/text.ts';
import { renderPage } from '../../src/cli/view/page.ts';
import { diff } from '../../src/data/queries/diff.ts';
import { findSpans, grep } from '../../src/data/queries/grep.ts';
import { sample } from '../../src/data/queries/sample.ts';
import { stats } from '../../src/data/queries/stats.ts';
import { trace } from '../../src/data/queries/trace.ts';
import { prepareStage } from '../../src/stages/prepare.ts';
import { ask, documents, fact, queriedFolder, section } from './queried_folder.ts';
import { runStage } from './stage_context.ts';

const { folder, write, context } = queriedFolder();

describe('grep', () => {
  it('finds rows in files, by field, and counts more than it shows', async () => {
    write('chats.jsonl', [
      { messages: [{ role: 'user', content: 'Where is Paris?' }], id: 'a' },
      { messages: [{ role: 'user', content: 'Who are you?' }], id: 'paris' },
      { messages: [{ role: 'user', content: 'Nothing of it' }], id: 'c' },
    ]);
    const page = await grep(
      ask({ query: 'grep', in: ['chats.jsonl'], pattern: 'paris', ignore_case: true }),
      context,
    );
    expect(fact(page, 'Found', 'rows')).toBe(3);
    expect(fact(page, 'Found', 'matching')).toBe(2);
    expect(section(page, 'rows', 'Matches').rows).toEqual([
      {
        origin: join(folder.path, 'chats.jsonl:1'),
        label: 'messages.0.content',
        spans: [
          { text: 'Where is ', marked: false },
          { text: 'Paris', marked: true },
          { text: '?', marked: false },
        ],
      },
      { origin: join(folder.path, 'chats.jsonl:2'), label: 'id', spans: [{ text: 'paris', marked: true }] },
    ]);
    const few = await grep(ask({ query: 'grep', in: ['chats.jsonl'], pattern: 'o', limit: 1 }), context);
    expect(section(few, 'rows', 'Matches').rows.length).toBe(1);
    expect(section(few, 'rows', 'Matches').note).toContain('--limit');
  });

  it('finds documents in a prepared dataset by its name', async () => {
    const page = await grep(ask({ query: 'grep', in: ['job/prepare'], pattern: '^17 ' }), context);
    expect(section(page, 'rows', 'Matches').rows.map(({ origin }) => origin)).toEqual(['docs.jsonl:18']);
    expect(fact(page, 'Found', 'rows')).toBe(60);
  });

  it('refuses what is no pattern', async () => {
    await expect(
      grep(ask({ query: 'grep', in: ['docs.jsonl'], pattern: '(' }), context),
    ).rejects.toMatchObject({
      code: 'bad_request',
      path: 'pattern',
    });
  });

  it('shows what is around a find, and dots for the rest', () => {
    const text = `${'a'.repeat(300)}X${'b'.repeat(150)}X${'c'.repeat(500)}X${'d'.repeat(50)}`;
    const spans = findSpans(text, /X/gu);
    expect(spans.filter(({ marked }) => marked).length).toBe(3);
    expect(spans.map((span) => span.text).join('')).toBe(
      `… ${'a'.repeat(100)}X${'b'.repeat(150)}X${'c'.repeat(100)} … ${'c'.repeat(100)}X${'d'.repeat(50)}`,
    );
    expect(findSpans('abc', /x*/gu)).toEqual([]);
  });
});

describe('sample', () => {
  it('draws each row as often as any other', async () => {
    write(
      'ten.jsonl',
      Array.from({ length: 10 }, (_, i) => ({ text: `row ${i}` })),
    );
    const counts = new Map<string, number>();
    for (let seed = 0; seed < 300; seed++) {
      const page = await sample(ask({ query: 'sample', in: ['ten.jsonl'], count: 3, seed }), context);
      const { rows } = section(page, 'rows', 'Rows');
      expect(new Set(rows.map(({ origin }) => origin)).size).toBe(3);
      for (const { origin } of rows) counts.set(origin, (counts.get(origin) ?? 0) + 1);
    }
    // 300 draws of 3 in 10: 90 each, with a standard deviation of 8.
    expect(counts.size).toBe(10);
    for (const count of counts.values()) expect(Math.abs(count - 90)).toBeLessThan(40);
  });

  it('shows fields one below the other, their names marked', async () => {
    write('fields.jsonl', [{ id: 'a', text: 'b' }]);
    const page = await sample(ask({ query: 'sample', in: ['fields.jsonl'], count: 1 }), context);
    expect(renderPage(page, { width: 80, paint: painter(false), color: false }).slice(3, 5)).toEqual([
      '│ [id] a',
      '│ [text] b',
    ]);
  });

  it('is the same for the same seed, and gives all of a small file', async () => {
    const draw = (seed: number, count: number) =>
      sample(ask({ query: 'sample', in: ['prepared'], count, seed }), context);
    expect(await draw(3, 4)).toEqual(await draw(3, 4));
    expect(section(await draw(3, 100), 'rows', 'Rows').rows.length).toBe(60);
  });
});

describe('stats', () => {
  it('counts a prepared dataset', async () => {
    const page = await stats(ask({ query: 'stats', in: ['job/prepare'] }), context);
    expect(fact(page, 'Dataset', 'documents')).toBe(60);
    const train = section(page, 'histogram', 'Length of documents, train');
    const validation = section(page, 'histogram', 'Length of documents, validation');
    expect(train.summary!.count + validation.summary!.count).toBe(60);
    expect(fact(page, 'Dataset', 'tokens')).toBeCloseTo(
      train.summary!.mean * train.summary!.count + validation.summary!.mean * validation.summary!.count,
      6,
    );
  });

  it('of a part say how much of the whole it is, and how the parts become one', async () => {
    const dir = join(folder.path, 'datasets', 'job', 'part');
    mkdirSync(dir);
    const settings = { files: ['docs.jsonl'], unit_bytes: 1 << 16, work_dir: 'shared', part: '1/2' };
    const inputs = { tokenizer: join(folder.path, 'tokenizer') };
    const run = await runStage(prepareStage, settings, { outDir: dir, baseDir: folder.path, inputs });
    const page = await stats(ask({ query: 'stats', in: ['job/part'] }), context);
    expect(page.sections.map(({ title }) => title)).toEqual(['Part of a dataset']);
    expect(fact(page, 'Part of a dataset', 'part')).toBe('1/2');
    expect(fact(page, 'Part of a dataset', 'units')).toBe(run.results.units);
    const { note } = section(page, 'facts', 'Part of a dataset');
    expect(note).toBe('When all parts are done, run prepare without part over work_dir shared.');
    await expect(sample(ask({ query: 'sample', in: ['job/part'] }), context)).rejects.toMatchObject({
      code: 'data_empty',
      message: expect.stringMatching(/is part 1\/2 of a dataset, not the whole/),
      hint: note,
    });
  });

  it('says what is no dataset', async () => {
    await expect(stats(ask({ query: 'stats', in: ['docs.jsonl'] }), context)).rejects.toMatchObject({
      code: 'file_not_found',
      path: 'docs.jsonl',
    });
  });
});

describe('trace', () => {
  it('finds a row in a dataset, and the steps that trained on it', async () => {
    const artifact = join(folder.path, 'artifacts', 'abc');
    mkdirSync(artifact, { recursive: true });
    writeFileSync(
      join(artifact, 'rows.txt'),
      'docs.jsonl:17\ndocs.jsonl:18\ndocs.jsonl:18+64\ndocs.jsonl:1\n',
    );
    const ledger = [
      { step: 1, rows: [[0, 3]] },
      { step: 2, rows: [[1], [2]] },
      { step: 2, set_aside: [1] },
      { step: 3, rows: [[1, 0]] },
    ];
    writeFileSync(join(artifact, 'ledger.jsonl'), ledger.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const lineage = {
      format: 1,
      hash: 'abc',
      type: 'pretrain',
      stage: 'base',
      job: 'j1',
      job_name: 'story',
      created_at: 1_790_000_000,
      seconds: 1,
      code_version: '1',
      code_hash: '1',
      seed: 0,
      threads: 1,
      settings: {},
      inputs: {},
      data_files: [],
      recipe: { text: '', base_dir: '/', source: 'recipe', set: [] },
      results: {},
      files: [],
    };
    writeFileSync(join(artifact, 'artifact.json'), JSON.stringify(lineage));
    const page = await trace(ask({ query: 'trace', in: ['prepared'], row: 'docs.jsonl:18' }), context);
    const places = section(page, 'table', 'In the dataset');
    expect(places.rows.length).toBe(1);
    expect(section(page, 'rows', 'Text').rows[0]!.spans[0]!.text).toBe(documents[17]);
    const trained = section(page, 'table', 'Trained on by');
    expect(trained.rows.map((row) => row.slice(0, 5))).toEqual([
      ['story/base', 'j1', 'pretrain', 3, '2, 2, 3'],
    ]);
    const other = await trace(ask({ query: 'trace', row: 'docs.jsonl:8' }), context);
    expect(section(other, 'table', 'Trained on by').rows).toEqual([]);
  });
});

describe('diff', () => {
  it('tells what only one has, whatever order and copies', async () => {
    const rows = [{ text: 'one' }, { text: 'two' }, { text: 'three' }];
    write('a.jsonl', rows);
    write('b.jsonl', [rows[2], rows[0], rows[0], { text: 'four' }]);
    const page = await diff(ask({ query: 'diff', a: 'a.jsonl', b: 'b.jsonl' }), context);
    expect(section(page, 'table', 'Documents').rows).toEqual([
      ['a.jsonl', 3, 3, 1, 2],
      ['b.jsonl', 4, 3, 1, 2],
    ]);
    expect(section(page, 'rows', 'Only in a.jsonl').rows.map(({ spans }) => spans.at(-1)!.text)).toEqual([
      ' two',
    ]);
    const same = await diff(ask({ query: 'diff', a: 'prepared', b: 'job/prepare' }), context);
    expect(same.sections.length).toBe(1);
  });

  it('compares a dataset with files by the text that is prepared of their rows', async () => {
    write(
      'with_ids.jsonl',
      [...documents, 'not prepared'].map((text, i) => ({ id: `row ${i}`, text })),
    );
    const page = await diff(ask({ query: 'diff', a: 'job/prepare', b: 'with_ids.jsonl' }), context);
    expect(section(page, 'table', 'Documents').rows.map((row) => row.slice(3))).toEqual([
      [0, documents.length],
      [1, documents.length],
    ]);
  });
});
