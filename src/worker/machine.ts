/** What this machine can do, measured once and kept in `$ANNEAL_HOME/machine.json`. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Addon } from '../native/addon.ts';
import { makeDir, writeFileAtomic } from '../util/files.ts';

const MACHINE_FILE = 'machine.json';

const machineSchema = z.strictObject({
  blas: z.string(),
  /** FLOP/s of matrix products by number of threads. */
  matrix_speed: z.record(z.string(), z.number().positive()),
});
type Machine = z.infer<typeof machineSchema>;

/** Speed of matrix products in FLOP/s; measured when it has not been with these threads and this BLAS. */
export async function matrixSpeed(home: string, addon: Addon, threads: number): Promise<number> {
  const known = await readSpeeds(home, addon);
  return known[String(threads)] ?? measureMatrixSpeed(home, addon, threads);
}

/** Measures, and keeps the highest figure so far: a busy machine looks slower than it is. */
export async function measureMatrixSpeed(home: string, addon: Addon, threads: number): Promise<number> {
  const measured = await addon.measureMatrixSpeed(threads);
  const known = await readSpeeds(home, addon);
  const best = Math.max(measured, known[String(threads)] ?? 0);
  const { blas } = addon.machineInfo();
  const machine: Machine = { blas, matrix_speed: { ...known, [threads]: best } };
  await makeDir(home);
  await writeFileAtomic(join(home, MACHINE_FILE), `${JSON.stringify(machine, null, 2)}\n`);
  return best;
}

/** By number of threads. A file that is missing or of another BLAS counts as nothing measured. */
async function readSpeeds(home: string, addon: Addon): Promise<Machine['matrix_speed']> {
  try {
    const machine = machineSchema.parse(JSON.parse(await readFile(join(home, MACHINE_FILE), 'utf8')));
    return machine.blas === addon.machineInfo().blas ? machine.matrix_speed : {};
  } catch {
    return {};
  }
}
