/** What this machine can do, for `anneal doctor`. */
import { arch, availableParallelism, cpus, release, totalmem } from 'node:os';
import type { CommandReply } from '../../proto/commands.ts';
import { toAnnealError } from '../../proto/errors.ts';
import { ANNEAL_VERSION } from '../../proto/version.ts';
import type { WorkerTask } from '../../proto/worker.ts';
import { type Addon, loadAddon } from '../native/addon.ts';
import { formatBytes, freeDiskBytes } from '../util/files.ts';
import { availableMemory } from '../util/memory.ts';
import type { WorkerChannel } from './channel.ts';
import { measureMatrixSpeed } from './machine.ts';
import { trackedAddon } from './tracked.ts';

type Check = CommandReply<'doctor'>['checks'][number];

const LOW_MEMORY = 2e9;
const LOW_DISK = 5e9;

/** Runs the task `doctor`. */
export async function runDoctor(
  task: Extract<WorkerTask, { task: 'doctor' }>,
  channel: WorkerChannel,
): Promise<void> {
  const checks: Check[] = [
    { name: 'anneal', ok: true, value: ANNEAL_VERSION },
    { name: 'node', ok: true, value: process.version },
    { name: 'system', ok: true, value: `${process.platform} ${release()} ${arch()}` },
    {
      name: 'processor',
      ok: true,
      value: `${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} threads`,
    },
    ...(await engineChecks(task.home, channel)),
    memoryCheck(),
    await diskCheck(task.home),
  ];
  channel.send({ type: 'doctored', report: { checks } });
}

async function engineChecks(home: string, channel: WorkerChannel): Promise<Check[]> {
  let addon: Addon;
  try {
    addon = trackedAddon(loadAddon(), channel.track.bind(channel));
  } catch (error) {
    const value = toAnnealError(error).message.split('\n')[0]!;
    return [{ name: 'engine', ok: false, value, hint: 'Build it with `npm run build:native`.' }];
  }
  const { simd, blas } = addon.machineInfo();
  const speed = await measureMatrixSpeed(home, addon, availableParallelism());
  return [
    {
      name: 'engine',
      ok: simd !== 'baseline',
      value: simd,
      ...(simd === 'baseline' ? { hint: 'This processor has no AVX2: training will be slow.' } : {}),
    },
    { name: 'blas', ok: true, value: blas },
    { name: 'matrix speed', ok: true, value: `${(speed / 1e9).toFixed(0)} GFLOP/s` },
  ];
}

function memoryCheck(): Check {
  const free = availableMemory();
  return {
    name: 'memory',
    ok: free >= LOW_MEMORY,
    value: `${formatBytes(free)} free of ${formatBytes(totalmem())}`,
    ...(free < LOW_MEMORY ? { hint: 'Close other programs, or train small models only.' } : {}),
  };
}

async function diskCheck(home: string): Promise<Check> {
  const free = await freeDiskBytes(home);
  return {
    name: 'disk',
    ok: free >= LOW_DISK,
    value: `${formatBytes(free)} free at ${home}`,
    ...(free < LOW_DISK ? { hint: 'Free some space, or set ANNEAL_HOME to a larger disk.' } : {}),
  };
}
