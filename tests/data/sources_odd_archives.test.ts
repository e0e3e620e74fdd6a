/** Archives that are legal but odd, and some made to do harm: links, sparse files, names, sizes, bombs in archives. */
import { readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { listUnits } from '../../src/data/sources/list.ts';
import { readUnit } from '../../src/data/sources/read.ts';
import { sourceSettings } from '../../src/data/sources/settings.ts';
import { paxRecord, tarMember, tarOf, withChecksums, zipOf } from './archive_bytes.ts';
import { contents, failure, records, writerInto } from './source_records.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const write = writerInto(folder.path);

/** The same archive as it is, and compressed: members are read by other means then. */
function tars(name: string, ...members: Buffer[]): string[] {
  const bytes = tarOf(...members);
  return [write(`${name}.tar`, bytes), write(`${name}.tar.gz`, gzipSync(bytes))];
}
const pax = (...fields: [key: string, value: string][]): Buffer =>
  tarMember('PaxHeader', fields.map(([key, value]) => paxRecord(key, value)).join(''), 'x');

describe('members of tar archives', () => {
  it('that are links, folders, devices or empty give nothing', async () => {
    for (const path of tars(
      'links',
      tarMember('a.txt', 'A'),
      tarMember('symbolic.txt', '', '2'),
      tarMember('hard.txt', '', '1'),
      tarMember('device.txt', '', '3'),
      tarMember('folder.txt/', '', '5'),
      tarMember('pipe.txt', '', '6'),
      tarMember('label.txt', '', 'V'),
      tarMember('empty.txt', ''),
      tarMember('z.txt', 'Z'),
    )) {
      expect(await contents(path)).toEqual(['A', 'Z']);
    }
  });

  it('that are stored in pieces are refused, not read as what they are not', async () => {
    for (const path of [
      ...tars('old', tarMember('a.jsonl', '{"a":1}\n', 'S')),
      ...tars('volumes', tarMember('a.jsonl', '{"a":1}\n', 'M')),
      ...tars(
        'sparse',
        pax(['GNU.sparse.major', '1'], ['GNU.sparse.name', 'a.jsonl'], ['GNU.sparse.realsize', '9']),
        tarMember('GNUSparseFile.1/a.jsonl', `1\n0\n8\n${'\0'.repeat(505)}{"a":1}\n`),
      ),
    ]) {
      const error = await failure(contents(path));
      expect(error.code).toBe('file_unreadable');
      expect(error.message).toContain('is stored in pieces');
      expect(error.hint).toContain('without --sparse');
    }
  });

  it('may have the same name: each is read', async () => {
    for (const path of tars('twice', tarMember('a.txt', 'first'), tarMember('a.txt', 'second'))) {
      expect(await contents(path)).toEqual(['first', 'second']);
      expect(await contents(`${path}!/a.txt`)).toEqual(['first', 'second']);
    }
  });

  it('may have long names, within reason', async () => {
    const name = `${'folder/'.repeat(400)}a.txt`;
    for (const path of tars('long', pax(['path', name]), tarMember('short', 'A'))) {
      expect((await records(path))[0]!.origin).toBe(`${path}!/${name}:1`);
    }
    const endless = `${'x'.repeat(1 << 20)}.txt`;
    for (const path of [
      ...tars('endless', pax(['path', endless]), tarMember('short', 'A')),
      ...tars('gnu', tarMember('././@LongLink', `${endless}\0`, 'L'), tarMember('short', 'A')),
    ]) {
      expect((await failure(contents(path))).message).toContain('has a member with a name of 1.05 MB: "xxx');
    }
  });

  it.each([
    ['more than there is', '99999999999999999'],
    ['less than nothing', '-1'],
    ['no number', 'many'],
    ['nothing at all', ''],
  ])('whose extended header says they have %s are damage, or what their own header says', async (_, size) => {
    for (const path of tars(`size${size}`, pax(['size', size]), tarMember('a.txt', 'A'))) {
      if (size === '') expect(await contents(path)).toEqual(['A']);
      else
        expect((await failure(contents(path))).message).toContain('is damaged, cut short, or no tar archive');
    }
  });

  it.each([0x81, 0x8b, 0xb0, 0xfe])(
    'whose size begins with %i, which begins none, are damage',
    async (byte) => {
      for (const type of ['0', '5', '2']) {
        const member = tarMember('a.txt', 'A', type);
        member[124] = byte;
        for (const path of tars(`size-${byte}-${type}`, withChecksums(member), tarMember('b.txt', 'B'))) {
          expect((await failure(contents(path))).message).toContain('a header says no size');
        }
      }
    },
  );

  it.each(['x', 'g', 'L', 'K'])('behind a header %s of 4 GB are damage', async (type) => {
    for (const path of tars(
      `huge-${type}`,
      tarMember('header', 'x', type, 2 ** 32),
      tarMember('a.txt', 'A'),
    )) {
      expect((await failure(contents(path))).message).toContain('Header exceeds max size');
    }
  });

  it('have the names that extended headers give, and are refused by those', async () => {
    for (const path of tars('slip', pax(['path', 'data/../../up.txt']), tarMember('a.txt', 'A'))) {
      expect((await failure(contents(path))).message).toContain('leads out of the archive');
    }
  });
});

describe('a tar archive', () => {
  it('of many members is listed and read in order', async () => {
    const many = Array.from({ length: 3000 }, (_, i) => tarMember(`${i}.txt`, `${i}`));
    for (const path of tars('many', ...many)) {
      expect(await contents(path)).toEqual(Array.from({ length: 3000 }, (_, i) => `${i}`));
    }
  });

  it('by its name that does not begin as one is damaged', async () => {
    for (const path of [
      write('zeros.tar', Buffer.alloc(2048)),
      write('cut.tar', tarMember('a.txt', 'A').subarray(0, 200)),
      write('text.tar.gz', gzipSync('no archive')),
      write('headless.zip', zipOf([{ name: 'a.txt', content: Buffer.from('A') }]).subarray(3)),
    ]) {
      expect((await failure(contents(path))).message).toBe(
        `${path} is damaged, cut short, or no archive (it does not begin as one).`,
      );
    }
  });
});

describe('members of zip archives', () => {
  it('that are links give nothing; two may have the same name', async () => {
    const path = write(
      'links.zip',
      zipOf([
        { name: 'a.txt', content: Buffer.from('first') },
        { name: 'link.txt', content: Buffer.from('/etc/passwd'), mode: 0o120777 },
        { name: 'folder/', content: Buffer.alloc(0), mode: 0o040755 },
        { name: 'a.txt', content: Buffer.from('second'), mode: 0o100644 },
      ]),
    );
    expect(await contents(path)).toEqual(['first', 'second']);
  });

  it('whose checksum differs are damaged', async () => {
    const bytes = zipOf([{ name: 'a.txt', content: Buffer.from('A') }]);
    const index = bytes.indexOf('PK\x01\x02', 0, 'latin1');
    bytes[index + 16]! ^= 1;
    const path = write('crc.zip', bytes);
    expect((await failure(contents(path))).message).toBe(
      `${path}!/a.txt is damaged, cut short, or no zip member (its checksum differs).`,
    );
  });
});

it('what was written to since it was listed is not read, though it has the same size', async () => {
  const parquet = readFileSync(join(import.meta.dirname, 'fixtures', 'zstd.parquet'));
  const settings = sourceSettings.parse({});
  for (const path of [
    ...tars('later', tarMember('a.jsonl', '{"a":1}\n')),
    write('later.zip', zipOf([{ name: 'a.jsonl', content: Buffer.from('{"a":1}') }])),
    write('later.parquet', parquet),
    write('later.jsonl', '{"a":1}\n'),
    write('later.jsonl.gz', gzipSync('{"a":1}\n')),
  ]) {
    const [unit] = await listUnits([path], settings, '/');
    const { mtimeMs } = statSync(path);
    utimesSync(path, mtimeMs / 1000 + 1, mtimeMs / 1000 + 1);
    const error = await failure(readUnit(unit!, settings).next());
    expect(error.message).toContain('was changed while it was being read: it was written to at');
    rmSync(path);
    expect((await failure(readUnit(unit!, settings).next())).code).toBe('file_not_found');
  }
});

describe('archives in archives', () => {
  it('are refused by their names, and no text under others', async () => {
    const inner = zipOf([{ name: 'a.txt', content: Buffer.from('A') }]);
    const named = (name: string) => [
      write('outer.zip', zipOf([{ name, content: inner }])),
      ...tars('outer', tarMember(name, inner)),
    ];
    for (const name of ['inner.zip', 'inner.tar.gz', 'inner.tgz']) {
      for (const path of named(name))
        expect((await failure(contents(path))).message).toContain('is an archive within an archive');
    }
    for (const path of named('inner.txt')) expect(await contents(path)).toEqual(['is not UTF-8']);
  });

  it('and compressed members do not multiply what a file may grow to', async () => {
    // The member grows by less than max_expansion, and so does the archive; both together do not.
    const member = gzipSync(Buffer.alloc(70 << 20, 'no end of it\n'));
    const settings = { max_expansion: 600 };
    const [row] = await contents(write('alone.txt.gz', member), settings);
    expect(row).toContain('longer than max_document_bytes');
    const archive = tarOf(tarMember('a.txt.gz', member));
    expect(await contents(write('plain.tar', archive), settings)).toEqual([row]);
    for (const path of [
      write('nested.tar.gz', gzipSync(archive)),
      write('nested.tar.zst', zstdCompressSync(archive)),
      write('nested.zip', zipOf([{ name: 'a.txt.gz', content: member }])),
    ]) {
      expect((await failure(contents(path, settings))).message).toContain('a.txt.gz grows beyond measure');
    }
  });
});
