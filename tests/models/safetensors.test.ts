/** Files that are damaged or made to do harm are refused by name; nothing is allocated by what they claim. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { makeSafetensorsHeader, readSafetensorsHeader } from '../../src/models/safetensors.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-safetensors-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const path = join(dir, 'model.safetensors');

function file(header: unknown, dataBytes: number, claimed?: bigint): void {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claimed ?? BigInt(text.length));
  writeFileSync(path, Buffer.concat([length, text, Buffer.alloc(dataBytes)]));
}
const tensor = (shape: unknown, begin: unknown, end: unknown, dtype: unknown = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe('a safetensors header', () => {
  it('is read back as it was written, aligned', async () => {
    const tensors = [
      { name: 'a', shape: [2, 3] },
      { name: 'b', shape: [] },
      { name: 'c', shape: [0, 5] },
    ];
    const header = makeSafetensorsHeader(tensors, { format: 'pt' });
    expect(header.length % 8).toBe(0);
    writeFileSync(path, Buffer.concat([header, Buffer.alloc(28)]));
    expect(await readSafetensorsHeader(path)).toEqual([
      { name: 'a', dtype: 'F32', shape: [2, 3], offset: header.length, bytes: 24 },
      { name: 'b', dtype: 'F32', shape: [], offset: header.length + 24, bytes: 4 },
      { name: 'c', dtype: 'F32', shape: [0, 5], offset: header.length + 28, bytes: 0 },
    ]);
  });

  it.each<[string, () => void, RegExp]>([
    ['an empty file', () => writeFileSync(path, ''), /too few/],
    ['half a length', () => writeFileSync(path, Buffer.alloc(5)), /too few/],
    ['a length of 2^64 - 1', () => file({}, 0, 2n ** 64n - 1n), /at most/],
    ['a length of 100 MB and one', () => file({}, 0, 100_000_001n), /at most/],
    ['a length beyond the file', () => file({}, 0, 1000n), /truncated/],
    ['no JSON', () => file('{"a": ', 0), /not JSON/],
    ['no UTF-8', () => writeFileSync(path, Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe])), /UTF-8/],
    ['a list', () => file([], 0), /not a JSON object/],
    ['a tensor that is a number', () => file({ a: 3 }, 0), /not described/],
    ['an unknown dtype', () => file({ a: tensor([1], 0, 4, 'F31') }, 4), /dtype/],
    ['a dtype of Object.prototype', () => file({ a: tensor([1], 0, 4, 'constructor') }, 4), /dtype/],
    ['a negative size', () => file({ a: tensor([-1, -1], 0, 4) }, 4), /shape/],
    ['a size that is a fraction', () => file({ a: tensor([0.5], 0, 2) }, 2), /shape/],
    ['a size beyond 2^53', () => file({ a: tensor([2 ** 60], 0, 4) }, 4), /shape/],
    [
      'sizes whose product overflows',
      () => file({ a: tensor([2 ** 30, 2 ** 30], 0, 4) }, 4),
      /larger than any/,
    ],
    ['no offsets', () => file({ a: { dtype: 'F32', shape: [1] } }, 4), /data_offsets/],
    ['offsets the wrong way round', () => file({ a: tensor([1], 4, 0) }, 4), /lies at/],
    ['offsets beyond the file', () => file({ a: tensor([2], 0, 8) }, 4), /truncated/],
    ['a shape that does not fill its bytes', () => file({ a: tensor([3], 0, 8) }, 8), /needs 12 bytes/],
    ['tensors that overlap', () => file({ a: tensor([2], 0, 8), b: tensor([2], 4, 12) }, 12), /overlaps/],
    ['a gap', () => file({ a: tensor([1], 0, 4), b: tensor([1], 8, 12) }, 12), /gap/],
    ['bytes at the end', () => file({ a: tensor([1], 0, 4) }, 9), /belong to no tensor/],
    [
      'a file cut short',
      () => {
        file({ a: tensor([4], 0, 16) }, 16);
        truncateSync(path, 60);
      },
      /truncated/,
    ],
  ])('is refused: %s', async (_, make, message) => {
    make();
    await expect(readSafetensorsHeader(path)).rejects.toMatchObject({
      code: 'model_invalid',
      message: expect.stringMatching(message),
    });
  });

  it('is refused by a typed error whatever byte of it is changed', async () => {
    const header = makeSafetensorsHeader([{ name: 'weight', shape: [3, 2] }], {});
    const whole = Buffer.concat([header, Buffer.alloc(24)]);
    for (let at = 0; at < header.length; at++) {
      for (const value of [0x00, 0x22, 0x30, 0x39, 0x7b, 0xff]) {
        const changed = Buffer.from(whole);
        changed[at] = value;
        writeFileSync(path, changed);
        await readSafetensorsHeader(path).catch((error: unknown) =>
          expect(error).toMatchObject({ code: 'model_invalid' }),
        );
      }
    }
  });
});
