/** The data benchmarks by name: a file `bench/data_NAME.ts` and a line here. */
import type { DataBench } from './data_harness.ts';

const WORKS: Record<string, () => Promise<{ default: DataBench }>> = {
  dedup: () => import('./data_dedup.ts'),
  near: () => import('./data_near.ts'),
  clean: () => import('./data_clean.ts'),
  encode: () => import('./data_encode.ts'),
  train: () => import('./data_train.ts'),
  loader: () => import('./data_loader.ts'),
  prepare: () => import('./data_prepare.ts'),
};

export const WORK_NAMES = Object.keys(WORKS);

export async function loadBench(name: string): Promise<DataBench> {
  const load = WORKS[name];
  if (load === undefined) throw new Error(`no data benchmark ${name}; there are ${WORK_NAMES.join(', ')}`);
  return (await load()).default;
}
