/** An adapter's folder, and the folder of the base that it names. */
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { exists, readJson } from '../util/files.ts';

export const ADAPTER_CONFIG = 'adapter_config.json';

const schema = z.looseObject({ base_model_name_or_path: z.string().min(1) });

/** Whether a folder is an adapter's. */
export function isAdapterFolder(path: string): Promise<boolean> {
  return exists(join(path, ADAPTER_CONFIG));
}

/** The folder of an adapter's base, named as seen from the adapter or from here. */
export async function adapterBase(path: string): Promise<string> {
  const file = join(path, ADAPTER_CONFIG);
  const config = schema.safeParse(await readJson(file, 'model_invalid'));
  if (!config.success) {
    throw new AnnealError('model_invalid', `${file} names no base_model_name_or_path.`, {
      path: file,
      hint: 'Set it to the folder of the base model.',
    });
  }
  const name = config.data.base_model_name_or_path;
  for (const folder of [resolve(path, name), resolve(name)]) {
    if (await exists(join(folder, 'config.json'))) return folder;
  }
  throw new AnnealError('model_not_found', `${file}: the base of the adapter, ${name}, is not there.`, {
    path: file,
    hint: 'Set base_model_name_or_path to the folder of the base model.',
  });
}

/** The folder that holds `file` of a model: its own, or, of an adapter that lacks it, that of its base. */
export async function folderOf(path: string, file: string): Promise<string> {
  if ((await exists(join(path, file))) || !(await isAdapterFolder(path))) return path;
  return adapterBase(path);
}
