/** Data files as rows: every format and compression, and every kind of broken file with its place in the message. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { AnnealError } from '../../proto/errors.ts';
import { resolveFiles } from '../../src/data/files.ts';
import { type Row, readAllRows } from '../../src/data/rows.ts';
import { plainRows } from '../../src/data/shapes/read.ts';
import { rowSettings } from '../../src/data/shapes/settings.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder.path, name);
  writeFileSync(path, content);
  return path;
}

async function rows(path: string, settings: object = {}): Promise<Row[]> {
  const all: Row[] = [];
  const source = { ...plainRows([path]), settings: rowSettings.parse(settings) };
  for await (const row of readAllRows(source)) all.push(row);
  return all;
}

async function texts(path: string, settings: object = {}): Promise<string[]> {
  return (await rows(path, settings)).map((row) => (row.kind === 'text' ? row.text.toString() : row.kind));
}

async function failure(work: Promise<unknown>): Promise<AnnealError> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(AnnealError);
  return error as AnnealError;
}

describe('text files', () => {
  const content = '\uFEFFone\r\ntwo\n\n \nthree\nfour\n\n';

  it('are documents, paragraphs or lines', async () => {
    const path = write('units.txt', content);
    expect(await texts(path)).toEqual(['one\ntwo\n\n \nthree\nfour']);
    expect(await texts(path, { text_unit: 'paragraph' })).toEqual(['one\ntwo', 'three\nfour']);
    expect(await texts(path, { text_unit: 'line' })).toEqual(['one', 'two', 'three', 'four']);
    expect((await rows(path, { text_unit: 'paragraph' })).map(({ origin }) => origin)).toEqual([
      `${path}:1`,
      `${path}:5`,
    ]);
  });

  it('may be gzip or zstd, whatever their name', async () => {
    const long = Array.from({ length: 50_000 }, (_, i) => `line ${i} é`).join('\n');
    for (const bytes of [long, gzipSync(long), zstdCompressSync(Buffer.from(long))]) {
      const path = write('compressed.txt', bytes);
      expect(await texts(path)).toEqual([long]);
      expect(await texts(path, { text_unit: 'line' })).toEqual(long.split('\n'));
    }
  });

  it('without text give no rows', async () => {
    expect(await texts(write('empty.txt', ''))).toEqual([]);
    expect(await texts(write('blank.txt', '\n \n\t\n'))).toEqual([]);
  });

  it('say how far they are read', async () => {
    const path = write('ends.txt', 'ab\ncd\n');
    expect((await rows(path, { text_unit: 'line' })).map(({ bytesRead }) => bytesRead)).toEqual([3, 6]);
  });
});

describe('JSONL files', () => {
  it('hold text, messages, or prompt and completion', async () => {
    const messages = [
      { role: 'user', content: 'hi', name: 'x' },
      { role: 'assistant', content: 'ho' },
    ];
    const path = write(
      'rows.jsonl',
      `${JSON.stringify({ text: 'a\nb' })}\n\n${JSON.stringify({ messages })}\r\n${JSON.stringify({ prompt: 'p', completion: 'c' })}`,
    );
    expect(await rows(path)).toMatchObject([
      { kind: 'text', line: 1, text: 'a\nb' },
      { kind: 'messages', line: 3, messages },
      { kind: 'completion', line: 4, prompt: 'p', completion: 'c' },
    ]);
    expect(
      await texts(write('other.ndjson.gz', gzipSync('{"body":"b"}')), { fields: { text: 'body' } }),
    ).toEqual(['b']);
  });

  it.each([
    ['{"text": "a"}\n{"text": ', 'data_syntax', ':2'],
    ['{"text": "a"}\n[1]', 'data_syntax', ':2'],
    ['{"txt": "a"}', 'data_field', ':1:text'],
    ['{"text": 5}', 'data_field', ':1:text'],
    ['\n{"prompt": "a"}', 'data_field', ':2:completion'],
    ['{"messages": []}', 'data_field', ':1:messages'],
    ['{"messages": [{"role": "user", "content": null}]}', 'data_field', ':1:messages.0.content'],
    ['{"messages": [{"content": "x"}]}', 'data_field', ':1:messages.0.role'],
    ['{"messages": ["x"]}', 'data_field', ':1:messages.0'],
  ])('name the place of what is wrong: %s', async (content, code, place) => {
    const path = write('bad.jsonl', content);
    const error = await failure(rows(path));
    expect(error).toMatchObject({ code, path: path + place });
    expect(error.message).toContain(`${path}:`);
    expect(error.hint).toBeTruthy();
  });
});

describe('broken files', () => {
  it('not UTF-8', async () => {
    const path = write('latin1.txt', Buffer.from('fine\ncaf\xe9\n', 'latin1'));
    expect(await failure(rows(path, { text_unit: 'line' }))).toMatchObject({
      code: 'data_encoding',
      path: `${path}:2`,
    });
  });

  it('a gigantic line, with bounded memory', async () => {
    const path = write('long.jsonl', gzipSync(Buffer.alloc(8 << 20, 0x61)));
    const error = await failure(rows(path, { max_document_bytes: 1 << 20 }));
    expect(error).toMatchObject({ code: 'data_syntax', path: `${path}:1` });
    const many = write('long.txt', 'word\n'.repeat(1000));
    expect(await failure(rows(many, { max_document_bytes: 100 }))).toMatchObject({ code: 'data_syntax' });
  });

  it('compressed data that is cut short or damaged', async () => {
    const text = Array.from({ length: 20_000 }, (_, i) => `${i * 7919}`).join('\n');
    for (const compressed of [gzipSync(text), zstdCompressSync(Buffer.from(text))]) {
      const path = write('cut.txt', compressed.subarray(0, compressed.length - 100));
      expect(await failure(rows(path))).toMatchObject({ code: 'file_unreadable', path });
      compressed.fill(0xff, compressed.length >> 1, (compressed.length >> 1) + 50);
      expect(await failure(rows(write('damaged.txt', compressed)))).toMatchObject({
        code: 'file_unreadable',
      });
    }
  });

  it('missing files, folders, patterns that match nothing', async () => {
    write('a-1.txt', 'x');
    write('a-2.txt', 'y');
    const names = async (patterns: string[]): Promise<string[]> =>
      (await resolveFiles(patterns, folder.path)).map((path) => path.slice(folder.path.length + 1));
    expect(await names(['a-2.txt', 'a-*.txt'])).toEqual(['a-2.txt', 'a-1.txt']);
    expect(await failure(names(['none-*.txt']))).toMatchObject({ code: 'file_not_found' });
    expect(await failure(names(['none.txt']))).toMatchObject({ code: 'file_not_found' });
    mkdirSync(join(folder.path, 'nothing'));
    expect(await failure(names(['nothing']))).toMatchObject({ code: 'file_not_found' });
    expect(await failure(rows(join(folder.path, 'gone.txt')))).toMatchObject({ code: 'file_not_found' });
  });
});
