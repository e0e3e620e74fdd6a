/** Text and JSONL as units and records: cutting by bytes, compression, bad rows and damaged files. */
import { appendFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { listUnits } from '../../src/data/sources/list.ts';
import { readRecords, readUnit } from '../../src/data/sources/read.ts';
import { sourceSettings } from '../../src/data/sources/settings.ts';
import { recordOrigin } from '../../src/data/sources/unit.ts';
import { contents, failure, records, writerInto } from './source_records.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);

const write = writerInto(folder.path);
const texts = contents;

describe('text', () => {
  const content = '\uFEFFone\r\ntwo\n\n \nthree\nfour\n\n';

  it('is documents, paragraphs or lines', async () => {
    const path = write('units.txt', content);
    expect(await texts(path)).toEqual(['one\ntwo\n\n \nthree\nfour']);
    expect(await texts(path, { text_unit: 'paragraph' })).toEqual(['one\ntwo', 'three\nfour']);
    expect(await texts(path, { text_unit: 'line' })).toEqual(['one', 'two', 'three', 'four']);
    const paragraphs = await records(path, { text_unit: 'paragraph' });
    expect(paragraphs.map(({ origin }) => origin)).toEqual([`${path}:1`, `${path}:5`]);
  });

  it('may be gzip or zstd, in several members, whatever its name', async () => {
    const long = Array.from({ length: 50_000 }, (_, i) => `line ${i} é`).join('\n');
    const [head, tail] = [long.slice(0, 1000), long.slice(1000)];
    for (const bytes of [
      long,
      gzipSync(long),
      zstdCompressSync(Buffer.from(long)),
      Buffer.concat([gzipSync(head), gzipSync(tail)]),
      Buffer.concat([zstdCompressSync(Buffer.from(head)), zstdCompressSync(Buffer.from(tail))]),
      // As pzstd writes: a frame that is skipped comes first.
      Buffer.concat([Buffer.from('502a4d18040000000f000000', 'hex'), zstdCompressSync(Buffer.from(long))]),
    ]) {
      const path = write('compressed.txt', bytes);
      expect(await texts(path)).toEqual([long]);
      expect(await texts(path, { text_unit: 'line' })).toEqual(long.split('\n'));
    }
  });

  it('without content gives no records', async () => {
    expect(await texts(write('empty.txt', ''))).toEqual([]);
    expect(await texts(write('blank.txt', '\n \n\t\n'))).toEqual([]);
  });

  it('says how far it is read', async () => {
    const path = write('ends.txt', 'ab\ncd\n');
    expect((await records(path, { text_unit: 'line' })).map(({ end }) => end)).toEqual([3, 6]);
  });
});

describe('ranges of bytes', () => {
  const pieces = ['alpha beta', '', ' ', 'γ', '\r', 'one\r', 'x'.repeat(40), '\t', 'end'];
  const content = Array.from({ length: 300 }, (_, i) => pieces[(i * i + 3 * i) % pieces.length]).join('\n');

  it.each(['line', 'paragraph'])('give every %s once, in order', async (text_unit) => {
    const path = write('ranges.txt', content);
    const whole = await texts(path, { text_unit });
    expect(whole.length).toBeGreaterThan(50);
    for (const unitBytes of [1, 2, 3, 7, 64, 1000, 10_000]) {
      expect(await texts(path, { text_unit }, { unitBytes })).toEqual(whole);
    }
  });

  it('give every row of JSONL once, and name rows by their byte', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({ text: 'z'.repeat(i), i }));
    const path = write('ranges.jsonl', `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`);
    for (const unitBytes of [1, 5, 100, 333]) {
      const cut = await records(path, {}, { unitBytes });
      expect(cut.map(({ fields }) => fields)).toEqual(rows);
    }
    const origins = (await records(path, {}, { unitBytes: 20 })).map(({ origin }) => origin);
    expect(origins.slice(0, 3)).toEqual([`${path}:1`, `${path}:2`, `${path}:@37`]);
  });
});

describe('JSONL', () => {
  it('gives its objects, and what is none as bad rows', async () => {
    const path = write(
      'rows.jsonl',
      Buffer.concat([
        Buffer.from('{"a":1}\r\n\n{"a":\n[1]\n{"text":"'),
        Buffer.from([0xe9]),
        Buffer.from('"}\n{"b":2}'),
      ]),
    );
    const rows = await records(path);
    expect(rows.map(({ line, fields, bad }) => [line, fields ?? bad!.code])).toEqual([
      [1, { a: 1 }],
      [3, 'data_syntax'],
      [4, 'data_syntax'],
      [5, 'data_encoding'],
      [6, { b: 2 }],
    ]);
    expect(rows[1]!.bad).toMatchObject({ excerpt: '{"a":' });
    expect(rows[2]!.bad!.message).toBe('is not a JSON object');
  });

  it('of a line that is too long is a bad row, and the rest is read', async () => {
    const long = JSON.stringify({ text: 'x'.repeat(3_000_000) });
    const path = write('long.jsonl', `{"a":1}\n${long}\n{"a":2}\n`);
    const rows = await records(path, { max_document_bytes: 1000 });
    expect(rows.map(({ line, fields, bad }) => [line, fields ?? bad!.message])).toEqual([
      [1, { a: 1 }],
      [2, 'is a line of 3.00 MB, longer than max_document_bytes'],
      [3, { a: 2 }],
    ]);
  });
});

describe('damaged files', () => {
  it.each([
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ])('of %s are errors', async (name, compress) => {
    const bytes = compress(Buffer.from(Array.from({ length: 9000 }, (_, i) => `${i * 7919}`).join('\n')));
    const path = write('cut.txt', bytes.subarray(0, bytes.length / 2));
    const error = await failure(texts(path));
    expect(error.code).toBe('file_unreadable');
    expect(error.message).toContain(`${path} is damaged or cut short: its ${name} data`);
  });

  it('are those that change between listing and reading, or while they are read', async () => {
    const path = write('changing.txt', `${'one '.repeat(250)}\n`.repeat(4000));
    const settings = sourceSettings.parse({ text_unit: 'line' });
    const [unit] = await listUnits([path], settings, folder.path);
    const reading = readUnit(unit!, settings);
    await reading.next();
    appendFileSync(path, 'more\n');
    const drain = async () => {
      for await (const _ of reading);
    };
    expect((await failure(drain())).message).toContain('was changed while it was being read');
    expect((await failure(readUnit(unit!, settings).next())).message).toContain('it had 4004000 bytes');
  });

  it.each([
    ['xz', Buffer.from('fd377a585a000004e6d6b446', 'hex'), 'xz -dk'],
    ['lz4', Buffer.from('04224d186440a7', 'hex'), 'lz4 -dk'],
    ['txt', Buffer.from('\uFEFFone\ntwo\n', 'utf16le'), 'iconv -f utf-16'],
    ['pdf', Buffer.from('%PDF-1.7\n'), 'pdftotext'],
  ])('of a kind that is not read are told by their first bytes (%s)', async (ending, bytes, way) => {
    const error = await failure(texts(write(`a.jsonl.${ending}`, bytes)));
    expect(error.code).toBe('file_unreadable');
    expect(error.hint).toContain(way);
    expect((await failure(texts(write('a.jsonl.gz', gzipSync(bytes))))).hint).toContain(way);
  });

  it('are addresses that nothing is fetched from, and links to nothing', async () => {
    const error = await failure(texts('s3://bucket/web.jsonl'));
    expect(error.message).toBe('s3://bucket/web.jsonl cannot be read: s3:// is no address of data.');
    symlinkSync(join(folder.path, 'nowhere'), join(folder.path, 'link.jsonl'));
    expect((await failure(texts('link*.jsonl'))).code).toBe('file_not_found');
    rmSync(join(folder.path, 'link.jsonl'));
  });

  it('are those that nobody can find', async () => {
    const error = await failure(texts(join(folder.path, 'nowhere.txt')));
    expect(error.code).toBe('file_not_found');
  });
});

it('a file may have more units than a call may have arguments', async () => {
  const path = write('many.jsonl', 'x'.repeat(300_000));
  const units = await listUnits([path], sourceSettings.parse({}), '/', { unitBytes: 1 });
  expect(units).toHaveLength(300_000);
  expect(units.at(-1)).toMatchObject({ start: 299_999, end: 300_000 });
});

it('all records of several files come in their order', async () => {
  const paths = [write('b.txt', 'b1\nb2'), write('a.txt', 'a1')];
  const found: string[] = [];
  for await (const { unit, records } of readRecords(
    paths,
    sourceSettings.parse({ text_unit: 'line' }),
    '/',
  )) {
    for (const { line, text } of records) found.push(`${recordOrigin(unit, line)} ${text}`);
  }
  expect(found).toEqual([`${paths[0]}:1 b1`, `${paths[0]}:2 b2`, `${paths[1]}:1 a1`]);
});
