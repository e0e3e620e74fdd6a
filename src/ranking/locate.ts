/** Finds a dataset of responses by what people call it, and the id that its labels go by. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { HomeLayout } from '../../proto/home.ts';
import { readLineage } from '../artifacts/store.ts';
import { hashFile, hashValue } from '../util/hash.ts';
import { RANKINGS_FILE, RESPONSES_FILE } from './responses.ts';

export interface LocatedDataset {
  /** Hash of the artifact, or of the files. */
  id: string;
  files: string[];
}

/** The id of a dataset that is files of one's own. */
export async function filesId(files: readonly string[]): Promise<string> {
  return hashValue(await Promise.all(files.map(hashFile))).slice(0, 32);
}

/** The dataset that `<job>/<stage>`, a folder or a file names; `fileId` gives the id of one file. */
export async function locateDataset(
  reference: string,
  home: Pick<HomeLayout, 'datasets'>,
  fileId = (path: string) => filesId([path]),
): Promise<LocatedDataset> {
  for (const path of [join(home.datasets, reference), resolve(reference)]) {
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile()) return { id: await fileId(path), files: [path] };
    if (!found?.isDirectory()) continue;
    const folder = await realpath(path);
    const names = await readdir(folder);
    const name = [RANKINGS_FILE, RESPONSES_FILE].find((each) => names.includes(each));
    if (name === undefined) continue;
    const file = join(folder, name);
    return { id: (await readLineage(folder))?.hash ?? (await fileId(file)), files: [file] };
  }
  const known = await datasetNames(home);
  throw new AnnealError('file_not_found', `There is no dataset of responses ${reference}.`, {
    path: 'dataset',
    hint:
      known.length === 0
        ? 'Run a recipe with a `generate` stage, or name a file: JSONL with `prompt` and `responses`.'
        : `Datasets of this home: ${known.slice(0, 5).join(', ')}${known.length > 5 ? ', ...' : ''}.`,
  });
}

/** What to call a dataset on the command line: `<job>/<stage>` where it has such a name, else its path. */
export async function datasetName(path: string, home: Pick<HomeLayout, 'datasets'>): Promise<string> {
  for (const name of await datasetNames(home)) {
    if ((await realpath(join(home.datasets, name)).catch(() => '')) === path) return name;
  }
  return path;
}

/** `<job>/<stage>` of all datasets of a home. */
async function datasetNames(home: Pick<HomeLayout, 'datasets'>): Promise<string[]> {
  const jobs = await readdir(home.datasets).catch(() => []);
  const names = await Promise.all(
    jobs.map(async (job) => {
      const stages = await readdir(join(home.datasets, job)).catch(() => []);
      return stages.filter((stage) => !stage.startsWith('.')).map((stage) => `${job}/${stage}`);
    }),
  );
  return names.flat().sort();
}
