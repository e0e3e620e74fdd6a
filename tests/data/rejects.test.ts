/** Rows that do not fit, read from files: kept aside with their places, counted, and too many of them an error. */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { SUPERVISED } from '../../src/data/shapes/content.ts';
import { type RowSource, readRows } from '../../src/data/shapes/read.ts';
import { rowSettings } from '../../src/data/shapes/settings.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);

interface Read {
  origins: string[];
  told: string[];
  /** Lines of rejected.jsonl. */
  rejected: Record<string, unknown>[];
}

async function read(lines: readonly string[], settings: object): Promise<Read> {
  const outDir = await mkdtemp(join(folder.path, 'out-'));
  writeFileSync(join(outDir, 'rows.jsonl'), lines.join('\n'));
  const told: string[] = [];
  const source: RowSource = {
    patterns: ['rows.jsonl'],
    baseDir: outDir,
    settings: rowSettings.parse(settings),
    stage: 'sft',
    setting: 'dataset',
    outDir,
    tell: (level, text) => told.push(`${level}: ${text.replaceAll(`${outDir}/`, '')}`),
  };
  const origins: string[] = [];
  for await (const { origin } of readRows(source, SUPERVISED)) origins.push(origin.slice(outDir.length + 1));
  let rejected: Record<string, unknown>[] = [];
  try {
    const file = readFileSync(join(outDir, 'rejected.jsonl'), 'utf8').replaceAll(`${outDir}/`, '');
    rejected = file
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOENT' });
  }
  return { origins, told, rejected };
}

const good = '{"text": "a"}';
const rows = [
  good,
  '{"text": 5}',
  good,
  '{"messages": [{"role": "user", "content": null}]}',
  '{"text": ',
  good,
];

describe('rows that do not fit', () => {
  it('are an error from the first one, where the recipe does not say otherwise', async () => {
    await expect(read(rows, {})).rejects.toMatchObject({
      code: 'data_field',
      message: expect.stringMatching(/rows\.jsonl:2: field text must be text, is a number\.$/),
    });
  });

  it('are kept aside with their place, field and beginning, counted and told', async () => {
    const { origins, told, rejected } = await read(rows, { max_rejected: 0.5 });
    expect(origins).toEqual(['rows.jsonl:1', 'rows.jsonl:3', 'rows.jsonl:6']);
    expect(rejected).toEqual([
      {
        row: 'rows.jsonl:2',
        field: 'text',
        problem: 'must be text, is a number',
        code: 'data_field',
        excerpt: '{"text":5}',
      },
      expect.objectContaining({ row: 'rows.jsonl:4', field: 'messages.0.content', code: 'data_field' }),
      expect.objectContaining({ row: 'rows.jsonl:5', code: 'data_syntax', excerpt: '{"text": ' }),
    ]);
    expect(rejected[2]).not.toHaveProperty('field');
    expect(told[0]).toBe('info: dataset: 3 rows: text.');
    expect(told[1]).toMatch(
      /^warning: dataset: 3 of 6 rows do not fit, kept aside in rejected\.jsonl: rows\.jsonl:2: field text must be text, is a number; rows\.jsonl:4/,
    );
  });

  it('above the bound are an error that names the first ones', async () => {
    await expect(read(rows, { max_rejected: 0.49 })).rejects.toMatchObject({
      code: 'data_rejected',
      path: 'stages.sft.dataset',
      message: expect.stringMatching(
        /3 of 6 rows of dataset do not fit \(50%, max_rejected allows 49%\): .*:2: .*:4: /,
      ),
    });
  });

  it('stop the reading before its end where they are far too many', async () => {
    const many = Array.from({ length: 20_000 }, (_, i) => (i % 2 === 0 ? good : '{}'));
    await expect(read(many, { max_rejected: 0.1 })).rejects.toThrow(/ 5000 of 10000 rows /);
  });

  it('are those that `where` keeps only', async () => {
    const settings = { where: { text: { exists: true }, language: 'en' } };
    const { origins, told } = await read(
      ['{"text": 5}', '{"text": "a", "language": "en"}', '{"x": 1}'],
      settings,
    );
    expect(origins).toEqual(['rows.jsonl:2']);
    expect(told).toEqual(['info: dataset: 1 row: text; where keeps 1 of 3 rows.']);
  });
});

describe('a dataset', () => {
  it('of which `where` leaves nothing is an error that names the field', async () => {
    await expect(read([good, good], { where: { langauge: 'en' } })).rejects.toMatchObject({
      code: 'data_empty',
      message: 'sft: dataset has no row left: where keeps 0 of 2 rows; no row has langauge.',
    });
  });

  it('tells its shapes, mixed ones too, and what is not read', async () => {
    const messages = '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]';
    const { told } = await read(
      [
        `{"messages": ${messages}, "text": "x"}`,
        `{"messages": ${messages}}`,
        '{"instruction": "a", "output": "b"}',
      ],
      {},
    );
    expect(told).toEqual(['info: dataset: 3 rows: 2 messages, 1 Alpaca (rows also have text: not read).']);
  });
});
