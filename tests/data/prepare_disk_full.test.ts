/** A disk that fills up in each step of a preparation, in a mount of its own (needs user namespaces). */
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { temporaryFolder } from './stage_context.ts';

const canMount = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;
const folder = temporaryFolder();
afterAll(folder.remove);

it.skipIf(!canMount)(
  'a full disk is an error that says so, and with room again the bytes are the same',
  async () => {
    const script = join(import.meta.dirname, 'prepare_disk_full.ts');
    const command =
      'mount -t tmpfs -o size=64m tmpfs "$1" && exec "$2" --disable-warning=ExperimentalWarning "$3" "$1"';
    const run = ['-rm', 'sh', '-c', command, 'sh', folder.path, process.execPath, script];
    const { stdout } = await promisify(execFile)('unshare', run);
    expect(stdout.trim().split('\n')).toEqual([
      // Counting, making documents, sorting fingerprints.
      'disk_full work/parts: same bytes',
      'disk_full work/documents: same bytes',
      'disk_full work: same bytes',
      // The dataset.
      'disk_full out/tokenizer/tokenizer.json: same bytes',
      'disk_full out/train/shard: same bytes',
      'disk_full out/validation/origins.bin: same bytes',
      'disk_full out/report.html: same bytes',
      'disk_full out/manifest.json: same bytes',
    ]);
  },
  120_000,
);
