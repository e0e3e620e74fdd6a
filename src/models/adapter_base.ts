/** An adapter's folder, the folder of the base that it names, and over which of the two it is held in memory. */
import { realpath } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { exists, readJson } from '../util/files.ts';

export const ADAPTER_CONFIG = 'adapter_config.json';

const schema = z.looseObject({ base_model_name_or_path: z.string().min(1) });
const kindSchema = z.looseObject({ init_lora_weights: z.unknown(), task_type: z.unknown() });

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

/** The folder whose weights a model is held over, and the adapter's own if it is one over them. */
export interface HeldModel {
  base: string;
  adapter?: string;
}

/**
 * Where a model is held: an adapter over its base. Any other model is a base of its own, and so are the adapters that
 * cannot share one: those that PEFT keeps over a base without the directions that they began with (`pissa`), and
 * those of reward models. They are merged into a copy of their base.
 */
export async function heldOver(path: string): Promise<HeldModel> {
  const folder = await realpath(path);
  if (!(await isAdapterFolder(folder))) return { base: folder };
  const base = await realpath(await adapterBase(folder));
  const config = kindSchema.parse(await readJson(join(folder, ADAPTER_CONFIG), 'model_invalid'));
  const alone = config.init_lora_weights === 'pissa' || config.task_type === 'SEQ_CLS';
  return alone ? { base: folder } : { base, adapter: folder };
}
