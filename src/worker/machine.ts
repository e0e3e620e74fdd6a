/** What this machine can do, measured once and kept in `$ANNEAL_HOME/machine.json`. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Addon } from '../native/addon.ts';
import { makeDir, writeFileAtomic } from '../util/files.ts';

const machineSchema = z.strictObject({
  blas: z.string(),
  /** FLOP/s of matrix products by number of threads. */
  matrix_speed: z.record(z.string(), z.number().positive()),
});

/** Speed of matrix products in FLOP/s; measured when it has not been with these threads and this BLAS. */
export async function matrixSpeed(home: string, addon: Addon, threads: number): Promise<number> {
  const path = join(home, 'machine.json');
  const { blas } = addon.machineInfo();
  const known = await readMachine(path);
  const speeds = known?.blas === blas ? known.matrix_speed : {};
  const before = speeds[String(threads)];
  if (before !== undefined) return before;
  const speed = await addon.measureMatrixSpeed(threads);
  await makeDir(home);
  const machine = { blas, matrix_speed: { ...speeds, [threads]: speed } };
  await writeFileAtomic(path, `${JSON.stringify(machine, null, 2)}\n`);
  return speed;
}

/** A file that is missing or not what was written counts as nothing measured. */
async function readMachine(path: string): Promise<z.infer<typeof machineSchema> | undefined> {
  try {
    return machineSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}
