/** Arrow cut into runs of record batches: the same rows however it is cut, and an index that is checked. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Decimal, makeData, makeVector, Table, tableFromArrays, tableToIPC } from 'apache-arrow';
import { afterAll, describe, expect, it } from 'vitest';
import { readManifest } from '../../src/data/dataset.ts';
import { listUnits } from '../../src/data/sources/list.ts';
import { sourceSettings } from '../../src/data/sources/settings.ts';
import { tokenizerStage } from '../../src/stages/tokenizer.ts';
import { tarMember, tarOf } from './archive_bytes.ts';
import { filesOf, prepareHere } from './prepare_process.ts';
import { contents, failure, records, writerInto } from './source_records.ts';
import { runStage, temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const write = writerInto(folder.path);
const fixture = (name: string): string => join(import.meta.dirname, 'fixtures', name);

const unitsOf = (path: string, unitBytes: number) =>
  listUnits([path], sourceSettings.parse({}), '/', { unitBytes });

describe.each([
  'none.arrow',
  'none.arrows',
  'zstd.arrow',
  'zstd.arrows',
  'dictionaries.arrow',
  'dictionaries.arrows',
])('%s', (name) => {
  it('gives the same rows with the same numbers, however it is cut', async () => {
    const whole = await records(fixture(name));
    expect(whole.map(({ line }) => line)).toEqual(whole.map((_, i) => i + 1));
    for (const unitBytes of [1, 400, 1000]) {
      const cut = await records(fixture(name), {}, { unitBytes });
      expect(cut.map(({ fields, origin }) => ({ fields, origin }))).toEqual(
        whole.map(({ fields, origin }) => ({ fields, origin })),
      );
    }
  });

  it('is a unit a record batch, if units are small', async () => {
    const units = await unitsOf(fixture(name), 1);
    const batches = name === 'dictionaries.arrows' ? 4 : name === 'dictionaries.arrow' ? 3 : 2;
    expect(units.map(({ start, end }) => [start, end])).toEqual(
      Array.from({ length: batches }, (_, i) => [i, i + 1]),
    );
    expect(await unitsOf(fixture(name), 1 << 20)).toHaveLength(1);
  });
});

it('a dictionary that grows, and one that takes the place of another', async () => {
  const grown = ['web', 'book', 'web', 'code', 'book', 'news', null, 'web'];
  const sources = async (name: string) =>
    (await contents(fixture(name), {}, { unitBytes: 1 })).map((row) => (row as { source: unknown }).source);
  expect(await sources('dictionaries.arrow')).toEqual(grown);
  expect(await sources('dictionaries.arrows')).toEqual([...grown, 'x', 'y']);
});

it('within a tar that is not compressed', async () => {
  const bytes = readFileSync(fixture('none.arrow'));
  const path = write('all.tar', tarOf(tarMember('a.arrow', bytes)));
  expect(await unitsOf(path, 1)).toHaveLength(2);
  expect(await contents(path, {}, { unitBytes: 1 })).toEqual(await contents(fixture('none.arrow')));
});

it('files of the library for JavaScript, which have their schema in the index alone', async () => {
  const columns = { text: ['one', 'two', 'one'], stars: Int32Array.of(5, 3, 1) };
  const bytes = Buffer.from(tableToIPC(tableFromArrays(columns), 'file'));
  const rows = columns.text.map((text, i) => ({ text, stars: columns.stars[i] }));
  expect(await contents(write('script.arrow', bytes))).toEqual(rows);
  expect(await contents(write('script.arrow.gz', gzipSync(bytes)))).toEqual(rows);
});

it('of the format before it', async () => {
  const { message, hint } = await failure(contents(write('old.feather', Buffer.from('FEA1\0\0\0\0FEA1'))));
  expect(message).toMatch(/old\.feather has what is not read here \(Feather V1\)\.$/);
  expect(hint).toContain('Arrow as IPC');
});

it('members of one archive, each by its own index', async () => {
  const names = ['none.arrow', 'dictionaries.arrow'];
  const members = names.map((name) => tarMember(name, readFileSync(fixture(name))));
  const path = write('two.tar.gz', gzipSync(tarOf(...members)));
  const apart = await Promise.all(names.map((name) => contents(fixture(name))));
  expect(await contents(path)).toEqual(apart.flat());
});

it('streams end to end are an error: the second would be lost', async () => {
  const path = write('joined.arrows', Buffer.concat(Array(2).fill(readFileSync(fixture('none.arrows')))));
  const whole = readFileSync(path);
  for (const each of [path, write('joined.arrows.gz', gzipSync(whole))]) {
    expect((await failure(contents(each))).message).toContain('bytes follow the end of its stream');
  }
});

it('decimals are numbers where those are exact, else text', async () => {
  const unscaled = [150n, -225n, 5n, -1n, 0n, 12345678901234567890n, -12345678901234567890n];
  const words = new Uint32Array(
    unscaled.flatMap((value) => [0n, 32n, 64n, 96n].map((shift) => Number((value >> shift) & 0xffffffffn))),
  );
  const decimals = (scale: number) =>
    makeVector(makeData({ type: new Decimal(scale, 30, 128), length: unscaled.length, data: words.slice() }));
  const table = new Table({ cents: decimals(2), whole: decimals(0), mills: decimals(3) });
  expect(await contents(write('decimals.arrows', Buffer.from(tableToIPC(table, 'stream'))))).toEqual([
    { cents: 1.5, whole: 150, mills: 0.15 },
    { cents: -2.25, whole: -225, mills: -0.225 },
    { cents: 0.05, whole: 5, mills: 0.005 },
    { cents: -0.01, whole: -1, mills: -0.001 },
    { cents: 0, whole: 0, mills: 0 },
    { cents: '123456789012345678.90', whole: '12345678901234567890', mills: '12345678901234567.890' },
    { cents: '-123456789012345678.90', whole: '-12345678901234567890', mills: '-12345678901234567.890' },
  ]);
});

describe('an index', () => {
  const whole = readFileSync(fixture('none.arrow'));
  const changed = (change: (bytes: Buffer) => void): string => {
    const bytes = Buffer.from(whole);
    change(bytes);
    return write('changed.arrow', bytes);
  };
  const indexBytes = whole.readInt32LE(whole.length - 10);

  it('that is longer than the file is named', async () => {
    const path = changed((bytes) => bytes.writeInt32LE(whole.length, whole.length - 10));
    const error = await failure(contents(path));
    expect(error.message).toBe(
      `${path} is damaged, cut short, or no Arrow file (its index says it has ${whole.length} bytes).`,
    );
    expect(error.path).toBe(path);
    expect(error.hint).toBe('Fetch or make the file again.');
  });

  it('that leads to no batch is named', async () => {
    const [first] = await unitsOf(fixture('none.arrow'), 1);
    const block = Buffer.alloc(8);
    // The second batch begins where the first one ends; its entry says so.
    const index = whole.length - 10 - indexBytes;
    const schemaEnd = 8 + 8 + whole.readInt32LE(12);
    let found = 0;
    for (let at = index; at + 8 <= whole.length; at += 4) {
      const offset = Number(whole.readBigInt64LE(at));
      if (offset < schemaEnd || offset >= index || offset % 8 !== 0) continue;
      if (!whole.subarray(offset, offset + 4).equals(Buffer.from('ffffffff', 'hex'))) continue;
      found += 1;
      for (const wrong of [offset + 8, 8, whole.length, -8]) {
        block.writeBigInt64LE(BigInt(wrong));
        const error = await failure(
          contents(
            changed((bytes) => block.copy(bytes, at)),
            {},
            { unitBytes: 1 },
          ),
        );
        expect(error.message).toMatch(/is damaged, cut short, or no Arrow file \(.+\)\.$/);
      }
    }
    // A dictionary and two batches.
    expect(found).toBe(3);
    expect(first!.start).toBe(0);
  });

  it('that is missing is named, whatever the marks', async () => {
    const mark = Buffer.from('ARROW1');
    const path = write('marks.arrow', Buffer.concat([mark, Buffer.alloc(2), mark]));
    expect((await failure(contents(path))).message).toContain('its last bytes are missing');
  });
});

/** Prepares the file in units of several sizes: the dataset is the same. */
async function expectOneDataset(path: string): Promise<void> {
  const tokenizer = join(folder.path, 'tokenizer');
  if (!existsSync(tokenizer)) {
    mkdirSync(tokenizer);
    await runStage(tokenizerStage, { files: [path], vocab_size: 300 }, { outDir: tokenizer, baseDir: '/' });
  }
  const prepared: unknown[] = [];
  for (const unit_bytes of [1000, 50_000, 1 << 26]) {
    const [workDir, outDir] = ['work', 'out'].map((name) => join(folder.path, `${name}-${unit_bytes}`));
    const settings = { files: [path], unit_bytes, dedup: { near: true } };
    await prepareHere({ settings, baseDir: folder.path, workDir: workDir!, outDir: outDir! });
    rmSync(workDir!, { recursive: true });
    const { content_hash, splits } = readManifest(outDir!);
    const bins = Object.entries(filesOf(outDir!)).filter(([name]) => name.endsWith('.bin'));
    prepared.push({ content_hash, splits, bins });
  }
  expect(prepared[1]).toEqual(prepared[0]);
  expect(prepared[2]).toEqual(prepared[0]);
}

describe.runIf(process.env.ANNEAL_PEERS_PYTHON)('as pyarrow reads it', () => {
  it.each(['file', 'stream'])(
    'a %s of many batches, in any ranges',
    async (kind) => {
      const path = join(folder.path, `many.${kind === 'file' ? 'arrow' : 'arrows'}`);
      const script = `
import json, pyarrow as pa
rows = [{"i": i, "text": "x" * (i * 37 % 301), "tags": [str(i)] * (i % 3), "lang": ["en", "de", "fr"][i * i % 3]} for i in range(3000)]
table = pa.Table.from_pylist(rows)
table = table.set_column(3, "lang", table["lang"].dictionary_encode())
with pa.ipc.new_${kind}(${JSON.stringify(path)}, table.schema) as writer:
    for at in range(0, 3000, 170):
        writer.write_table(table.slice(at, 170), max_chunksize=100)
with pa.OSFile(${JSON.stringify(path)}) as source:
    print(json.dumps(pa.ipc.open_${kind}(source).read_all().to_pylist()))
`;
      const rows: unknown = JSON.parse(
        execFileSync(process.env.ANNEAL_PEERS_PYTHON!, ['-c', script], {
          encoding: 'utf8',
          maxBuffer: 1 << 26,
        }),
      );
      for (const unitBytes of [1, 50_000, Number.POSITIVE_INFINITY]) {
        expect(await contents(path, {}, { unitBytes })).toEqual(rows);
      }
      expect((await unitsOf(path, 50_000)).length).toBeGreaterThan(5);
      await expectOneDataset(path);
    },
    60_000,
  );
});
