/** Folders, globs and archives as sources; archives made to do harm. */
import { createWriteStream, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type Header, pack } from 'tar-stream';
import { afterAll, describe, expect, it } from 'vitest';
import { listUnits } from '../../src/data/sources/list.ts';
import { readUnit } from '../../src/data/sources/read.ts';
import { sourceSettings } from '../../src/data/sources/settings.ts';
import { zipOf } from './archive_bytes.ts';
import { contents, failure, records, writerInto } from './source_records.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const write = writerInto(folder.path);

type Entry = [name: string, content: string | Buffer, header?: Partial<Header>];

async function tar(name: string, entries: readonly Entry[]): Promise<string> {
  const path = join(folder.path, name);
  const tarball = pack();
  for (const [entry, content, header] of entries) tarball.entry({ ...header, name: entry }, content);
  tarball.finalize();
  await pipeline(tarball as unknown as NodeJS.ReadableStream, createWriteStream(path));
  return path;
}

describe('folders', () => {
  it('stand for the data files below them, by name', async () => {
    const root = join(folder.path, 'tree');
    mkdirSync(join(root, 'b', '.git'), { recursive: true });
    for (const [name, text] of [
      ['z.txt', 'z'],
      ['b/a.jsonl', '{"a":1}'],
      ['b/notes.xyz', 'unknown'],
      ['b/.git/x.txt', 'hidden'],
      ['a.txt', 'a'],
    ] as const) {
      writeFileSync(join(root, name), text);
    }
    symlinkSync('..', join(root, 'b', 'loop'));
    symlinkSync('../a.txt', join(root, 'b', 'link.txt'));
    expect(await contents(root)).toEqual(['a', { a: 1 }, 'a', 'z']);
    expect(await contents(root, { format: 'text' })).toEqual(['a', '{"a":1}', 'a', 'unknown', 'z']);
    expect(await contents(join(root, '**/*.txt'))).toEqual(['a', 'a', 'z']);
  });

  it('without data files are errors', async () => {
    const root = join(folder.path, 'bare');
    mkdirSync(root);
    writeFileSync(join(root, 'x.bin'), 'x');
    expect((await failure(contents(root))).message).toBe(
      `${root} has no files with the name of a data file.`,
    );
  });
});

const members: Entry[] = [
  ['data/', '', { type: 'directory' }],
  ['data/a.txt', 'A'],
  ['data/b.jsonl', '{"b":1}\n{"b":2}\n'],
  ['README', 'not data'],
  [`deep/${'x'.repeat(150)}/c.txt.gz`, gzipSync('C')],
  ['link.txt', '', { type: 'symlink', linkname: '/etc/passwd' }],
  ['data/z.parquet', readFileSync(join(import.meta.dirname, 'fixtures', 'zstd.parquet'))],
];

describe.each(['tar', 'tar.gz', 'tar.zst', 'zip'])('%s archives', (kind) => {
  const make = async (): Promise<string> => {
    if (kind === 'zip') {
      const files = members.filter(([, , header]) => header?.type !== 'symlink');
      return write(
        'all.zip',
        zipOf(files.map(([name, content]) => ({ name, content: Buffer.from(content as string) }))),
      );
    }
    const path = await tar('all.tar', members);
    if (kind === 'tar') return path;
    const compress = kind === 'tar.gz' ? gzipSync : zstdCompressSync;
    return write(`all.${kind}`, compress(readFileSync(path)));
  };

  it('give their members, and name them', async () => {
    const path = await make();
    const rows = await records(path);
    expect(
      rows
        .slice(0, 4)
        .map(({ origin, text, fields }) => [origin.slice(path.length), text?.toString() ?? fields]),
    ).toEqual([
      ['!/data/a.txt:1', 'A'],
      ['!/data/b.jsonl:1', { b: 1 }],
      ['!/data/b.jsonl:2', { b: 2 }],
      [`!/deep/${'x'.repeat(150)}/c.txt.gz:1`, 'C'],
    ]);
    expect(rows.slice(4).map(({ fields }) => fields!.text)).toEqual(
      [0, 1, 2, 3, 4, 5].map((i) => `row ${i} é`),
    );
    expect(await contents(`${path}!/README`)).toEqual(['not data']);
    expect(await contents(`${path}!/**/*.jsonl`)).toEqual([{ b: 1 }, { b: 2 }]);
    expect((await failure(contents(`${path}!/*.csv`))).message).toContain('no member has this name');
    const slashless = await failure(contents(`${path}!data/b.jsonl`));
    expect(slashless.code).toBe('file_not_found');
    expect(slashless.hint).toBe(`Members of an archive are named behind "!/": ${path}!/data/b.jsonl`);
  });

  it('are read member by member in any order, also when one is given up', async () => {
    const settings = sourceSettings.parse({});
    const units = await listUnits([await make()], settings, '/');
    for (const i of [3, 0, 1, 2, 0]) {
      const groups = [];
      for await (const group of readUnit(units[i]!, settings)) groups.push(...group);
      expect(groups).toHaveLength([1, 2, 1, 6][i]!);
      for await (const _ of readUnit(units[1]!, settings)) break;
    }
  });

  it('that are cut short are errors', async () => {
    const bytes = readFileSync(await make());
    const path = write(`cut.${kind}`, bytes.subarray(0, Math.floor(bytes.length / 3)));
    expect((await failure(contents(path))).code).toBe('file_unreadable');
  });
});

it('members of a tar are cut by bytes, and carry their own ranges', async () => {
  const rows = Array.from({ length: 100 }, (_, i) => ({ i }));
  const path = await tar('cut.tar', [
    ['first.txt', 'x'],
    ['rows.jsonl', rows.map((row) => JSON.stringify(row)).join('\n')],
  ]);
  expect(await contents(`${path}!/rows.jsonl`, {}, { unitBytes: 50 })).toEqual(rows);
});

describe('archives made to do harm', () => {
  it.each(['../up.txt', '/etc/cron.txt', 'a/../../b.txt', 'C:\\x.txt'])(
    'with a member %s are refused',
    async (name) => {
      for (const path of [
        await tar('slip.tar', [[name, 'x']]),
        write('slip.zip', zipOf([{ name, content: Buffer.from('x') }])),
      ]) {
        const error = await failure(contents(path));
        expect(error.code).toBe('file_unreadable');
        expect(error.message).toContain('leads out of the archive');
      }
    },
  );

  it('and files that grow beyond measure are refused', async () => {
    const zeros = Buffer.alloc(100 << 20);
    const small = { max_expansion: 250 };
    for (const path of [
      write('bomb.txt.gz', gzipSync(zeros)),
      write('bomb.txt.zst', zstdCompressSync(zeros)),
      write('bomb.zip', zipOf([{ name: 'a.txt', content: zeros }])),
      write('bomb.tar.gz', gzipSync(readFileSync(await tar('bomb.tar', [['a.txt', zeros]])))),
    ]) {
      expect((await failure(contents(path, small))).message).toContain('grows beyond measure');
    }
    const twice = gzipSync(gzipSync(zeros));
    expect(
      (await failure(contents(await tar('twice.tar', [['a.txt.gz', gzipSync(zeros)]])))).message,
    ).toContain('grows beyond measure');
    // Compressed twice is not undone twice: what is left is no text.
    expect(await contents(write('twice.txt.gz', twice))).toEqual(['is not UTF-8']);
  });

  it('whose members are longer than they say are errors', async () => {
    const path = write(
      'liar.zip',
      zipOf([{ name: 'a.txt', content: Buffer.from('x'.repeat(1000)), claimed: 10 }]),
    );
    expect((await failure(contents(path))).message).toContain(
      'a.txt is damaged, cut short, or no zip member',
    );
  });

  it('and archives within archives are refused', async () => {
    const inner = readFileSync(await tar('inner.tar', [['a.txt', 'x']]));
    const path = await tar('outer.tar', [['inner.tar.gz', gzipSync(inner)]]);
    expect((await failure(contents(path))).message).toContain('is an archive within an archive');
  });
});
