/** `anneal data prepare`: files to a dataset, without writing a recipe: it is submitted as one. */

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { Client } from '../client/client.ts';
import { rowSettingsOf } from '../data/shapes/settings.ts';
import type { Output } from './output.ts';
import { watchJob } from './view/watch.ts';

export interface Preparation {
  files: string[];
  /** Job that the dataset is named by: `<name>/prepare`. */
  name: string;
  /** A model or folder whose tokenizer is taken; undefined: one is trained on the files. */
  tokenizer: string | undefined;
  part: string | undefined;
  workDir: string | undefined;
  /** Further settings of the stage. */
  settings: Record<string, unknown>;
}

/** Submits the recipe and follows its job; gives the exit status. */
export async function prepareFiles(client: Client, preparation: Preparation, out: Output): Promise<number> {
  const recipe = await preparationRecipe(client, preparation);
  const { job } = await client.call('job.submit', {
    recipe: JSON.stringify(recipe),
    base_dir: process.cwd(),
    source: `data prepare ${preparation.files.join(' ')}`,
  });
  return watchJob(client, job, out);
}

/** The recipe of a preparation. */
export async function preparationRecipe(client: Client, preparation: Preparation): Promise<object> {
  const { files, name, part, workDir, settings } = preparation;
  const from =
    preparation.tokenizer === undefined ? undefined : await folderOf(client, preparation.tokenizer);
  return {
    name,
    stages: {
      // A tokenizer that is trained beside reads the same rows.
      ...(from === undefined ? { tokenizer: { ...rowSettingsOf(settings), files } } : {}),
      prepare: {
        ...settings,
        tokenizer: from ?? 'tokenizer',
        files,
        ...(part === undefined ? {} : { part }),
        ...(workDir === undefined ? {} : { work_dir: workDir }),
      },
    },
  };
}

async function folderOf(client: Client, name: string): Promise<string> {
  const { models } = await client.call('model.list', {});
  const named = models.find((model) => model.name === name);
  if (named) return named.path;
  if (existsSync(join(name, 'tokenizer.json'))) return resolve(name);
  throw new AnnealError('file_not_found', `There is no tokenizer ${name}.`, {
    path: 'tokenizer',
    hint: 'Name a model of this home, or a folder with tokenizer.json; without --tokenizer one is trained on the files.',
  });
}
