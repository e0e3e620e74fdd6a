/** Duplicates, repeated lines and evaluation overlap against brute force, and the same with little memory as with much. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findDuplicates, findRepeatedParts } from '../../src/data/dedup/duplicates.ts';
import { candidateProbability, nearOptions, optimalBands } from '../../src/data/dedup/near.ts';
import { dedupSettings } from '../../src/data/dedup/settings.ts';
import { DataRandom } from '../../src/data/random.ts';
import { type Duplicates, loadAddon } from '../../src/native/addon.ts';
import { documentOf, type TextBatch, textBatch } from '../../src/native/text_batch.ts';
import { generatedText, temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const addon = loadAddon();
let written = 0;

function file(content: BigUint64Array | Uint32Array): string {
  const path = join(folder.path, `${written++}.bin`);
  writeFileSync(path, new Uint8Array(content.buffer, content.byteOffset, content.byteLength));
  return path;
}

/** Sets by breadth-first search over documents that share something; the reference for clusters. */
function clustersOf(documents: number, alike: (a: number, b: number) => boolean): number[] {
  const first = new Array<number>(documents).fill(-1);
  for (let i = 0; i < documents; i++) {
    if (first[i] !== -1) continue;
    const open = [i];
    first[i] = i;
    while (open.length > 0) {
      const a = open.pop()!;
      for (let b = 0; b < documents; b++) {
        if (first[b] !== -1 || !alike(a, b)) continue;
        first[b] = i;
        open.push(b);
      }
    }
  }
  return first;
}

const texts = (batch: TextBatch) =>
  Array.from(batch.ends, (_, i) => Buffer.from(documentOf(batch, i)).toString());

describe('finding duplicates', () => {
  const random = new DataRandom('duplicates');
  const documents = 400;
  const bands = 3;
  const exact = Array.from({ length: documents }, () => [BigInt(random.below(300)), BigInt(random.below(2))]);
  const keys = Array.from({ length: documents }, () =>
    Array.from({ length: bands }, (_, band) => BigInt(band * 10_000 + random.below(900))),
  );
  const group = (i: number) => (i < 100 ? 7 : i < 250 ? 8 : 9);
  const borders = [0, 100, 250, 250, 400];
  const files = borders.slice(1).map((end, i) => {
    const [from, to] = [borders[i]!, end];
    return {
      exact: file(BigUint64Array.from(exact.slice(from, to).flat())),
      bands: file(BigUint64Array.from(keys.slice(from, to).flat())),
      documents: to - from,
      group: group(from),
    };
  });
  const find = (options: { memory: number; threads: number; near?: boolean; grouped?: boolean }) =>
    addon.findDuplicates({
      files: files.map((each) => ({ ...each, group: options.grouped ? each.group : 0 })),
      ...(options.near === false ? {} : { near: { bands } }),
      memoryBytes: options.memory,
      dir: folder.path,
      threads: options.threads,
    });
  const equal = (a: number, b: number) => exact[a]!.every((half, i) => half === exact[b]![i]);
  const near = (a: number, b: number) => keys[a]!.some((key, band) => key === keys[b]![band]);
  const expected = (
    alike: (a: number, b: number) => boolean,
    mayBeExact: (a: number, b: number) => boolean,
  ) => {
    // An exact duplicate is known by its first alone, whatever its own bands.
    const copies = exact.map((_, i) => exact.findIndex((_, j) => j < i && mayBeExact(i, j)) !== -1);
    const first = clustersOf(
      documents,
      (a, b) => mayBeExact(a, b) || (!copies[a] && !copies[b] && alike(a, b)),
    );
    const dropped = first.flatMap((root, i) => (root === i ? [] : [i]));
    return {
      dropped,
      exact: dropped.map((i) => (copies[i] ? 1 : 0)),
      kept: dropped.map((i) => first[i]!),
      clusters: new Set(dropped.map((i) => first[i]!)).size,
    };
  };
  const plain = ({ dropped, exact: equals, kept, clusters }: Duplicates) => ({
    dropped: [...dropped],
    exact: [...equals],
    kept: [...kept],
    clusters,
  });

  it('finds the clusters that brute force finds, and keeps the first of each', async () => {
    const found = await find({ memory: 1 << 20, threads: 1 });
    const reference = expected(near, equal);
    expect(reference.clusters).toBeGreaterThan(10);
    expect(reference.exact).toContain(1);
    expect(plain(found)).toEqual(reference);
    expect(found.spilledBytes).toBe(0);
    expect(plain(await find({ memory: 1 << 20, threads: 1, near: false }))).toEqual(
      expected(() => false, equal),
    );
  });

  it('compares within groups only where they differ', async () => {
    const within = (alike: (a: number, b: number) => boolean) => (a: number, b: number) =>
      group(a) === group(b) && alike(a, b);
    expect(plain(await find({ memory: 1 << 20, threads: 1, grouped: true }))).toEqual(
      expected(within(near), within(equal)),
    );
  });

  it('gives the same whatever the memory and the threads, and leaves no file behind', async () => {
    const whole = await find({ memory: 1 << 20, threads: 1 });
    const before = readdirSync(folder.path);
    for (const [memory, threads] of [
      [1, 1],
      [100, 2],
      [1000, 3],
      [5000, 1],
    ] as const) {
      const spilled = await find({ memory, threads });
      expect(spilled.spilledBytes).toBe(documents * 24 + spilledBands(whole) * 16);
      expect(plain(spilled)).toEqual(plain(whole));
    }
    expect(readdirSync(folder.path)).toEqual(before);
  });
  const spilledBands = ({ exact: equals }: Duplicates) =>
    (documents - equals.reduce((sum, each) => sum + each, 0)) * bands;

  it('verifies candidates by their signatures', async () => {
    // One band key for all; signatures of four hashes: 0 and 2 agree in three, 1 and 3 in all, 4 in none.
    const signatures = [
      [1, 2, 3, 4],
      [5, 6, 7, 8],
      [1, 2, 3, 9],
      [5, 6, 7, 8],
      [9, 9, 9, 9],
    ];
    const verify = (similarity: number) =>
      addon.findDuplicates({
        files: [
          {
            exact: file(BigUint64Array.from([0n, 0n, 1n, 0n, 2n, 0n, 3n, 0n, 4n, 0n])),
            bands: file(new BigUint64Array(5).fill(77n)),
            signatures: file(Uint32Array.from(signatures.flat())),
            documents: 5,
            group: 0,
          },
        ],
        near: { bands: 1, verify: { similarity, permutations: 4 } },
        memoryBytes: 1 << 20,
        dir: folder.path,
        threads: 1,
      });
    const loose = await verify(0.75);
    expect([[...loose.dropped], [...loose.kept]]).toEqual([
      [2, 3],
      [0, 1],
    ]);
    const strict = await verify(1);
    expect([[...strict.dropped], [...strict.kept]]).toEqual([[3], [1]]);
    expect(strict.refused).toBeGreaterThan(loose.refused);
  });

  it('says what is wrong with a file, a folder', async () => {
    const settings = dedupSettings.parse({});
    const place = { addon, threads: 1, dir: folder.path };
    const short = { ...files[0]!, documents: 99 };
    await expect(findDuplicates(settings, [short], place)).rejects.toMatchObject({
      code: 'artifact_corrupt',
    });
    const numbers = BigUint64Array.from({ length: 100_000 }, (_, i) => BigInt(i));
    const many = [{ exact: file(numbers), documents: 50_000, group: 0 }];
    const gone = { ...files[0]!, exact: '/nowhere' };
    await expect(findDuplicates(settings, [gone], place)).rejects.toThrow(/\/nowhere/);
    const nowhere = { ...place, dir: '/nowhere' };
    await expect(
      findDuplicates(dedupSettings.parse({ memory_bytes: 1 << 20 }), many, nowhere),
    ).rejects.toMatchObject({ code: 'file_unreadable' });
  });

  it('says when the disk is full', () => {
    const mount = join(folder.path, 'small');
    mkdirSync(mount);
    const numbers = file(BigUint64Array.from({ length: 400_000 }, (_, i) => BigInt(i % 1000)));
    const run = spawnSync(
      'unshare',
      [
        '--user',
        '--map-root-user',
        '--mount',
        'sh',
        '-c',
        `mount -t tmpfs -o size=1m tmpfs "$0" && exec "$1" "$2" "$3" "$0"`,
        mount,
        process.execPath,
        join(import.meta.dirname, 'dedup_disk_full.ts'),
        numbers,
      ],
      { encoding: 'utf8' },
    );
    if (/unshare/.test(run.stderr)) return expect(run.status).not.toBe(0); // not allowed on this machine
    expect(JSON.parse(run.stdout)).toEqual({ code: 'disk_full', path: mount, left: [] });
  });
});

describe('near duplicates of texts', () => {
  const near = { unit: 'word', shingle: 3, permutations: 128, threshold: 0.7 } as const;
  const settings = dedupSettings.parse({ near });
  const shingles = (text: string) => {
    const words = text.replace(/[A-Z]/g, (c) => c.toLowerCase()).match(/[\p{L}\p{M}\p{N}]+/gu)!;
    return new Set(words.slice(2).map((_, i) => words.slice(i, i + 3).join(' ')));
  };
  const jaccard = (a: Set<string>, b: Set<string>) => {
    const both = [...a].filter((each) => b.has(each)).length;
    return both / (a.size + b.size - both);
  };

  it('are found by the rate that the bands promise, and others are not', async () => {
    const random = new DataRandom('near');
    const written: string[] = [];
    for (let i = 0; i < 60; i++) {
      const text = generatedText(i + 1, 200).replace(/[^\w ]/g, 'x');
      written.push(text);
      // Copies with up to a tenth of the words changed: similarities from 0.55 to 1.
      const words = text.split(' ').filter(Boolean);
      const changes = random.below(20);
      for (let change = 0; change < changes; change++)
        words[random.below(words.length)] = `new${change}of${i}`;
      written.push(words.join(' '));
    }
    const options = nearOptions(settings.near!);
    const prints = await addon.createFingerprinter({ threads: 2, near: options }).run(textBatch(written));
    const found = await findDuplicates(
      settings,
      [{ exact: file(prints.exact), bands: file(prints.bands), documents: written.length, group: 0 }],
      { addon, threads: 2, dir: folder.path },
    );
    const dropped = new Set(found.dropped);
    const sets = written.map(shingles);
    let expected = 0;
    let variance = 0;
    let hits = 0;
    for (let i = 0; i < written.length; i += 2) {
      expect(dropped.has(i)).toBe(false);
      const chance = candidateProbability(jaccard(sets[i]!, sets[i + 1]!), options);
      expected += chance;
      variance += chance * (1 - chance);
      if (dropped.has(i + 1)) hits += 1;
    }
    expect(Math.abs(hits - expected)).toBeLessThan(4 * Math.sqrt(variance) + 0.5);
    expect(hits).toBeGreaterThan(25);
  });

  it('have their bands where errors are least', () => {
    // As datasketch puts them (tests/peers compares many more).
    expect(optimalBands(0.8, 128)).toEqual({ bands: 9, rows: 13 });
    expect(optimalBands(0.5, 128)).toEqual({ bands: 25, rows: 5 });
    const given = dedupSettings.parse({ near: { bands: 14, rows: 8 } });
    expect(nearOptions(given.near!)).toMatchObject({ bands: 14, rows: 8 });
    const wrong = (near: object) => dedupSettings.safeParse({ near }).error?.issues[0]?.message;
    expect(wrong({ bands: 14 })).toMatch(/together/);
    expect(wrong({ bands: 14, rows: 10 })).toMatch(/140, more than 128/);
    expect(dedupSettings.parse({ near: true }).near?.permutations).toBe(128);
  });
});

describe.each(['line', 'paragraph'] as const)('repeated parts: %s', (part) => {
  const random = new DataRandom(part);
  const separator = part === 'line' ? '\n' : '\n \n\n';
  const pool = Array.from({ length: 60 }, (_, i) => `  ${part} number ${i}${i % 3 === 0 ? ' \t' : ''}`);
  const short = ['}', 'ok'];
  const documents = Array.from({ length: 150 }, () =>
    Array.from({ length: random.below(9) }, () =>
      random.below(4) === 0 ? short[random.below(2)]! : pool[Math.floor(random.below(60) ** 2 / 60)]!,
    ),
  );
  const written = documents.map((parts) => parts.join(separator));
  const options = { part, minCharacters: 3, threads: 2 };
  const collapsed = (each: string) => each.trim().replace(/\s+/g, ' ');

  /** By looking at every part of every document. */
  function reference(minDocuments: number): { kept: string[][]; repeated: number } {
    const owners = new Map<string, Set<number>>();
    documents.forEach((parts, i) => {
      for (const each of parts.map(collapsed).filter(({ length }) => length >= 3)) {
        owners.set(each, (owners.get(each) ?? new Set()).add(i));
      }
    });
    const kept = documents.map((parts, i) => {
      const seen = new Set<string>();
      return parts.filter((given) => {
        const each = collapsed(given);
        if (each.length < 3) return true;
        const again = seen.has(each);
        seen.add(each);
        const of = owners.get(each)!;
        return !again && (of.size < minDocuments || Math.min(...of) === i);
      });
    });
    return { kept, repeated: [...owners.values()].filter(({ size }) => size >= minDocuments).length };
  }

  async function run(minDocuments: number, memoryBytes: number, split: number[]) {
    const borders = [0, ...split, written.length];
    const batches = borders.slice(1).map((end, i) => textBatch(written.slice(borders[i], end)));
    const files = [];
    for (const batch of batches) {
      const { hashes, counts } = await addon.createPartHasher(options).run(batch);
      files.push({ hashes: file(hashes), counts: file(counts), documents: batch.ends.length });
    }
    const place = { addon, threads: 2, dir: folder.path };
    const found = await findRepeatedParts({ memory_bytes: memoryBytes }, files, minDocuments, place);
    const remover = addon.createPartRemover({ ...options, ...found });
    const kept: string[] = [];
    let removed = 0;
    for (const [i, batch] of batches.entries()) {
      const result = await remover.run(batch, borders[i]!);
      kept.push(...texts(result.texts));
      removed += result.removed.reduce((sum, each) => sum + each, 0);
    }
    return { kept, removed, found };
  }

  it.each([2, 5])('are removed where they are not the first, from %i documents on', async (minDocuments) => {
    const { kept, repeated } = reference(minDocuments);
    const whole = await run(minDocuments, 1 << 20, []);
    const parts = (text: string) => text.split('\n').map(collapsed).filter(Boolean);
    expect(whole.kept.map(parts)).toEqual(kept.map((each) => each.map(collapsed)));
    expect(whole.found.hashes.length).toBe(repeated);
    const all = documents.flat().length;
    expect(whole.removed).toBe(all - kept.flat().length);
    expect(whole.removed).toBeGreaterThan(20);
    const spilled = await run(minDocuments, 100, [1, 40, 41, 149]);
    expect(spilled.found.spilledBytes).toBeGreaterThan(0);
    expect({ ...spilled.found, spilledBytes: 0 }).toEqual(whole.found);
    expect(spilled.kept).toEqual(whole.kept);
  });

  it('leaves what stays as it is, byte for byte', async () => {
    const lone = ['', '\n', ' a \r\n\r\nb', 'no end of line', 'é\xff\n\n\n  x'];
    const remover = addon.createPartRemover({
      ...options,
      hashes: new BigUint64Array(),
      first: new BigUint64Array(),
    });
    const { texts: kept, removed } = await remover.run(textBatch(lone), 0);
    expect(texts(kept)).toEqual(lone);
    expect([...removed]).toEqual([0, 0, 0, 0, 0]);
  });
});
