/** The threads that decode Parquet and Arrow: what is damaged is named, what takes no end is given up, others go on. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { AnnealError } from '../../proto/errors.ts';
import { setColumnarPatience } from '../../src/data/sources/columnar.ts';
import { inputOf } from '../fuzz/run.ts';
import { TARGETS } from '../fuzz/targets.ts';
import { contents, failure, writerInto } from './source_records.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const write = writerInto(folder.path);
const PATIENCE_MS = 300_000;
afterEach(() => setColumnarPatience(PATIENCE_MS));

describe.each(['parquet', 'arrow'])('%s', (kind) => {
  const sound = join(import.meta.dirname, 'fixtures', `zstd.${kind}`);

  it('that takes longer than the patience there is, is given up, and read by another thread later', async () => {
    setColumnarPatience(0);
    const error = await failure(contents(sound));
    expect(error.code).toBe('file_unreadable');
    expect(error.message).toBe(`${sound} cannot be decoded: no end of it after 0 s.`);
    setColumnarPatience(PATIENCE_MS);
    expect(await contents(sound)).toHaveLength(6);
  });

  it('that is damaged is named, and the next file is read', async () => {
    for (let number = 0; number < 40; number++) {
      const path = write(`damaged-${number}.${kind}`, inputOf(TARGETS[kind]!, 3, number));
      const rows = await contents(path).catch((error: unknown) => error);
      if (rows instanceof Error) {
        expect(rows).toBeInstanceOf(AnnealError);
        expect((rows as AnnealError).path).toBe(path);
      }
      expect(await contents(sound)).toHaveLength(6);
    }
  });

  it('is read by several at once', async () => {
    const all = await Promise.all(Array.from({ length: 5 }, () => contents(sound)));
    for (const rows of all) expect(rows).toHaveLength(6);
  });
});

it('Parquet that its library never ends is given up, and the next file is read', async () => {
  const sound = join(import.meta.dirname, 'fixtures', 'encodings_none.parquet');
  const bytes = readFileSync(sound);
  // Deltas in blocks of -1 parts: the library goes back as far as it went on.
  const deltas = bytes.indexOf(Buffer.from([0x80, 0x01, 0x04, 0x03]));
  bytes.set([0x01, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x03, 0x05, 0x0e], deltas);
  const path = write('endless.parquet', bytes);
  await contents(sound);
  setColumnarPatience(1000);
  expect((await failure(contents(path))).message).toBe(`${path} cannot be decoded: no end of it after 1 s.`);
  setColumnarPatience(PATIENCE_MS);
  expect(await contents(sound)).toHaveLength(6);
});

it.each([
  ['parquet', 302, 10_951],
  ['parquet', 303, 40_600],
  ['parquet', 303, 173_091],
  ['parquet-v2', 401, 10],
  ['parquet-v2', 401, 169],
  ['parquet-v2', 401, 723],
])('%s with a page that does not say its size is damaged (seed %i, input %i)', async (name, seed, number) => {
  // The library would read on from nowhere.
  const path = write(`${name}-${seed}-${number}.parquet`, inputOf(TARGETS[name]!, seed, number));
  expect((await failure(contents(path))).message).toContain(`${path} is damaged, cut short, or no Parquet`);
});

it('Arrow with a body behind a message that has none is damaged', async () => {
  // The library would take the body for the next message, unchecked.
  const sound = readFileSync(join(import.meta.dirname, 'fixtures', 'none.arrows'));
  const [SCHEMA, BATCH] = [1, 3];
  const said: string[] = [];
  for (let at = sound.indexOf(BATCH); at >= 0; at = sound.indexOf(BATCH, at + 1)) {
    const bytes = Buffer.from(sound);
    bytes[at] = SCHEMA;
    const path = write(`body-${at}.arrows`, bytes);
    said.push(await contents(path).then(String, (error: Error) => error.message));
  }
  // Two of the bytes are the kinds of the batches.
  expect(said.filter((message) => message.includes('a message says it has a body of'))).toHaveLength(2);
});

it.each([0x7fffffff, 0x00ffffff, -1])('Arrow ends, whatever is %i of its numbers', async (number) => {
  // Lengths of lists, sizes of bodies, counts of rows, places of values: each of them in turn.
  const whole = readFileSync(join(import.meta.dirname, 'fixtures', 'none.arrow'));
  for (let at = 8; at + 4 <= whole.length; at += 4) {
    const bytes = Buffer.from(whole);
    bytes.writeInt32LE(number, at);
    const content = await TARGETS.arrow!.run(bytes, at).catch((error: unknown) => error);
    if (content instanceof Error) expect(content).toBeInstanceOf(AnnealError);
    else expect(content).toBeLessThan(1 << 20);
  }
});
