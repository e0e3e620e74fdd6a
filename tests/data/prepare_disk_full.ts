/**
 * Run by prepare_disk_full.test.ts inside a small mount, which is its argument: prepares with less room than it takes,
 * then with enough, and prints where it stopped and whether the bytes are those of one that had room from the start.
 */
import { appendFileSync, mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import { hashValue } from '../../src/util/hash.ts';
import { filesOf, makeData, prepareHere } from './prepare_process.ts';

const disk = process.argv[2]!;
const ballast = join(disk, 'ballast');
const [workDir, outDir] = [join(disk, 'work'), join(disk, 'out')];
const baseDir = join(disk, 'data');
mkdirSync(baseDir);
const data = (await makeData(baseDir, 120)) as { dedup: object };

/** Fingerprints that are sorted in 1 MB of memory take more than that: they go to the disk. */
const near = { permutations: 1024, bands: 512, rows: 2 };
const sorted = (memory_bytes: number): object => ({ ...data, dedup: { ...data.dedup, near, memory_bytes } });

const free = (): number => {
  const { bavail, bsize } = statfsSync(disk);
  return bavail * bsize;
};

/** Takes up the disk but for so many bytes. */
function leave(bytes: number): void {
  writeFileSync(ballast, '');
  for (let more = free() - bytes; more > 0; more = free() - bytes)
    appendFileSync(ballast, Buffer.alloc(more));
}

async function prepared(settings: object): Promise<string> {
  await prepareHere({ settings, baseDir, workDir, outDir });
  return hashValue(filesOf(outDir));
}

/** What was being written when the disk was full. */
function placeOf({ path = '' }: AnnealError): string {
  const inside = path.slice(disk.length + 1);
  return inside
    .replace(/-[0-9a-f]{16}/, '')
    .replace(/\/units\/.*/, '')
    .replace(/\/shard-.*/, '/shard');
}

async function runOutOfRoom(settings: object, room: number, expected: string): Promise<string> {
  rmSync(outDir, { recursive: true, force: true });
  leave(room);
  const error = await prepared(settings).catch((e: unknown) => e);
  rmSync(ballast);
  const place =
    error instanceof AnnealError
      ? `${error.code} ${placeOf(error)}`
      : String((error as Error)?.stack ?? error);
  return `${place}: ${(await prepared(settings)) === expected ? 'same bytes' : 'other bytes'}`;
}

const results: string[] = [];
const before = free();
const expected = await prepared(sorted(1 << 20));
const room = before - free();
for (const share of [0.1, 0.4, 1.1]) {
  rmSync(workDir, { recursive: true, force: true });
  results.push(await runOutOfRoom(sorted(1 << 20), share * room, expected));
}
// With every unit done and all sorted in memory, the rest is the dataset.
const merged = await prepared(sorted(1 << 28));
const after = free();
rmSync(outDir, { recursive: true });
const written = free() - after;
for (const share of [0, 0.4, 0.8, 0.9, 0.98]) {
  results.push(await runOutOfRoom(sorted(1 << 28), share * written, merged));
}
console.log(results.join('\n'));
