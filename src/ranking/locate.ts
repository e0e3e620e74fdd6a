/** Finds a dataset of responses by what people call it, and the id that its labels go by. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { HomeLayout } from '../../proto/home.ts';
import { readLineage } from '../artifacts/store.ts';
import { type RowSettings, rowSettings, rowSettingsOf } from '../data/shapes/settings.ts';
import { canonicalJson, hashFile, hashValue } from '../util/hash.ts';
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

/** Settings that do not change what a row is: labels are the same whatever they are. */
const FREE: ReadonlySet<string> = new Set(['where', 'max_rejected', 'chat_template_kwargs']);

/**
 * The id that labels of a dataset go by, read with these settings: its own unless they read its rows in another way
 * than usual, when a row may have other responses.
 */
export function labelsId(dataset: string, settings: RowSettings): string {
  const reading = readingOf(settings);
  return reading === USUAL ? dataset : hashValue([dataset, reading]).slice(0, 32);
}

/** The settings that are not as usual, as options of `anneal rank`. */
export function rowOptions(settings: RowSettings): string {
  return Object.entries(rowSettingsOf(settings))
    .filter(([key, value]) => canonicalJson(value ?? null) !== canonicalJson(PLAIN[key] ?? null))
    .map(
      ([key, value]) =>
        ` --set ${quoted(`${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)}`,
    )
    .join('');
}

const PLAIN: Record<string, unknown> = rowSettings.parse({});
const USUAL = readingOf(rowSettings.parse({}));

function readingOf(settings: RowSettings): string {
  const own = Object.entries(rowSettingsOf(settings)).filter(([key]) => !FREE.has(key));
  return canonicalJson(Object.fromEntries(own));
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

/** A word for a shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
