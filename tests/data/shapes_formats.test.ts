/** Every shape in every format: the same rows, whatever file they come from. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SUPERVISED } from '../../src/data/shapes/content.ts';
import { type GroupKind, groupKind } from '../../src/data/shapes/groups.ts';
import { plainRows, readRows } from '../../src/data/shapes/read.ts';
import { rowSettings } from '../../src/data/shapes/settings.ts';
import { readEvaluationRows } from '../../src/evaluation/rows.ts';
import { readResponses } from '../../src/ranking/responses.ts';
import { readPromptRows } from '../../src/rollout/prompts.ts';
import { temporaryFolder } from './stage_context.ts';

type Rows = Record<string, unknown>[];

const folder = temporaryFolder();
afterAll(folder.remove);
const fixture = (name: string): string => join(import.meta.dirname, 'fixtures', name);
const SHAPES = JSON.parse(readFileSync(fixture('shapes.json'), 'utf8')) as Record<string, Rows>;

const columnsOf = (rows: Rows): string[] => [...new Set(rows.flatMap((row) => Object.keys(row)))];
const jsonl = (rows: Rows): string => rows.map((row) => JSON.stringify(row)).join('\n');

/** A table of text: lists and objects as JSON, nothing as an empty cell. */
function separated(rows: Rows, delimiter: string): string {
  const cell = (value: unknown): string => {
    const text =
      value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value);
    return `"${text.replaceAll('"', '""')}"`;
  };
  const columns = columnsOf(rows);
  return [columns, ...rows.map((row) => columns.map((name) => row[name]))]
    .map((line) => line.map(cell).join(delimiter))
    .join('\r\n');
}

const FORMATS: Record<string, (shape: string, rows: Rows) => string> = {
  'jsonl.gz': (shape, rows) => write(`${shape}.jsonl.gz`, gzipSync(jsonl(rows))),
  'jsonl.zst': (shape, rows) => write(`${shape}.jsonl.zst`, zstdCompressSync(Buffer.from(jsonl(rows)))),
  json: (shape, rows) => write(`${shape}.json`, JSON.stringify({ data: rows }, null, 2)),
  csv: (shape, rows) => write(`${shape}.csv`, separated(rows, ',')),
  tsv: (shape, rows) => write(`${shape}.tsv`, separated(rows, '\t')),
  arrow: (shape) => fixture(`shapes_${shape}.arrow`),
  parquet: (shape) => fixture(`shapes_${shape}.parquet`),
  'a member of a tar file': (shape, rows) => {
    write(`${shape}.jsonl`, jsonl(rows));
    execFileSync('tar', ['-czf', `${shape}.tar.gz`, `${shape}.jsonl`], { cwd: folder.path });
    return `${join(folder.path, shape)}.tar.gz!/*.jsonl`;
  },
};

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder.path, name);
  writeFileSync(path, content);
  return path;
}

const KINDS: Record<string, GroupKind | undefined> = {
  pairs: 'pairs',
  labels: 'labels',
  rankings: 'rankings',
};

/** What is read of a shape's rows, without their places. */
async function read(shape: string, pattern: string): Promise<unknown[]> {
  const kind = KINDS[shape];
  const source = plainRows([pattern]);
  const contents: unknown[] = [];
  if (kind === undefined) {
    for await (const { content } of readRows(source, SUPERVISED)) contents.push(content);
  } else {
    for await (const { content } of readRows(source, groupKind(kind))) contents.push(content);
  }
  // Also to undefined members, which no file tells from missing ones.
  return JSON.parse(
    JSON.stringify(contents, (key, value: unknown) => (key === 'origin' ? undefined : value)),
  ) as unknown[];
}

describe('rows', () => {
  const expected = new Map<string, unknown[]>();
  beforeAll(async () => {
    for (const [shape, rows] of Object.entries(SHAPES))
      expected.set(shape, await read(shape, write(`${shape}.jsonl`, jsonl(rows))));
  });

  it('in JSONL are of their shape', () => {
    expect(expected.get('messages')).toMatchObject([
      { kind: 'messages', tools: [{ function: { name: 'look' } }], messages: { length: 5 } },
      { kind: 'messages', messages: [{}, { weight: 0 }] },
    ]);
    expect(expected.get('rankings')).toMatchObject([
      [{ ranking: [[1], [2], [0]] }],
      [{ ranking: [[0], [1]] }],
    ]);
    for (const [shape, rows] of Object.entries(SHAPES)) expect(expected.get(shape)).toHaveLength(rows.length);
  });

  describe.each(Object.keys(FORMATS))('in %s', (format) => {
    it.each(Object.keys(SHAPES))('of the shape %s are the same', async (shape) => {
      expect(await read(shape, FORMATS[format]!(shape, SHAPES[shape]!))).toEqual(expected.get(shape));
    });

    it('are filtered and mapped alike', async () => {
      const pattern = FORMATS[format]!('completion', SHAPES.completion!);
      const settings = rowSettings.parse({
        fields: { prompt: 'completion', answer: 'prompt' },
        where: { stars: { min: 10 } },
      });
      const source = { ...plainRows([pattern]), settings };
      expect(await readPromptRows(source)).toMatchObject([
        { asked: ' blue.', fields: { answer: 'The sky is' } },
      ]);
      expect(await readEvaluationRows(source)).toMatchObject([
        { question: { prompt: ' blue.' }, answers: ['The sky is'] },
      ]);
    });

    it('of responses are ranked alike', async () => {
      const rows = await readResponses(plainRows([FORMATS[format]!('rankings', SHAPES.rankings!)]));
      expect(
        rows.map(({ id, prompt, responses }) => [id, prompt, responses.map(({ text }) => text)]),
      ).toEqual([
        ['0', 'Sky?', ['Green.', 'Blue.', 'Grey.']],
        ['1', 'Grass?', ['Green.', 'Blue.']],
      ]);
    });
  });
});
