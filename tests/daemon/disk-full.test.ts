/** A disk that fills up under a running daemon, in a mount of its own (needs user namespaces). */
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { temporaryFolder } from './harness.ts';

const canMount = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;

it.skipIf(!canMount)(
  'a full disk stops no daemon: it answers, and the job ends well when there is room again',
  async () => {
    const script = join(import.meta.dirname, 'disk-full.ts');
    const command =
      'mount -t tmpfs -o size=48m tmpfs "$1" && exec "$2" --disable-warning=ExperimentalWarning "$3" "$1"';
    const run = ['-rm', 'sh', '-c', command, 'sh', temporaryFolder(), process.execPath, script];
    const { stdout } = await promisify(execFile)('unshare', run);
    expect(stdout.trim().split('\n')).toEqual([
      'the disk is full',
      'status answers',
      'new jobs are refused: disk_full',
      'the job succeeded with every step once',
    ]);
  },
);
