/**
 * Adapter folders in PEFT's format, read and written: adapter_config.json, and adapter_model.safetensors with PEFT's
 * names: `base_model.model.` before each, and `base_layer` between a target module and its bias. The hash of the base's
 * weights is kept in the metadata of the safetensors file, which PEFT passes over.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { AdapterOptions, Architecture, Session, TensorSource } from '../native/addon.ts';
import { exists, readJson, writeFileAtomic } from '../util/files.ts';
import { hashFile, hashValue } from '../util/hash.ts';
import { ADAPTER_CONFIG, adapterBase } from './adapter_base.ts';
import { adapterOptions, type LoraSettings, loraSettings, tiesHead } from './lora.ts';
import { makeSafetensorsHeader, readSafetensors, sameContent } from './safetensors.ts';

const WEIGHTS = 'adapter_model.safetensors';
const PREFIX = 'base_model.model.';
const BASE_HASH = 'base_sha256';

/** The tensor of a scalar head. */
export const SCORE_HEAD = 'score.weight';
/** PEFT writes the copy of tied tables under both names. */
const EMBEDDINGS = 'model.embed_tokens.weight';
const TIED_HEAD = 'lm_head.weight';

/** An adapter's folder whose config has been read, but for what only its base can say. */
export interface AdapterConfig {
  /** Folder of the base. */
  base: string;
  settings: LoraSettings;
  /** The adapter is a reward model's: its base has a scalar head. */
  classifier: boolean;
}

/** An adapter over its base. */
export interface AdapterFolder extends AdapterConfig {
  path: string;
  options: AdapterOptions;
  /** The base's head is its embeddings. */
  tied: boolean;
}

/** Fields of PEFT that change the arithmetic and have no place here, with the values that leave it as it is. */
const UNSUPPORTED: Record<string, readonly unknown[]> = {
  fan_in_fan_out: [false],
  exclude_modules: [null],
  layers_pattern: [null, ''],
  layer_replication: [null],
  lora_bias: [false],
  target_parameters: [null],
  trainable_token_indices: [null],
  alora_invocation_tokens: [null],
  use_qalora: [false],
  use_bdlora: [null],
  velora_config: [null],
  monteclora_config: [null],
  arrow_config: [null],
};

const configSchema = z.looseObject({
  peft_type: z.literal('LORA'),
  task_type: z.string().nullish(),
});

/** Reads adapter_config.json, and finds the base. */
export async function readAdapterConfig(path: string): Promise<AdapterConfig> {
  const file = join(path, ADAPTER_CONFIG);
  const config = await readJson(file, 'model_invalid');
  const parsed = configSchema.safeParse(config);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new AnnealError('model_invalid', `${file}: ${issue.path.join('.')}: ${issue.message}.`, {
      path: file,
      hint: "LoRA adapters in PEFT's format are loaded.",
    });
  }
  for (const [field, neutral] of Object.entries(UNSUPPORTED)) {
    const value = parsed.data[field];
    if (value === undefined || neutral.includes(value) || isEmpty(value)) continue;
    throw new AnnealError('model_invalid', `${file}: ${field} is not supported.`, {
      path: file,
      hint: 'Merge the adapter into its base with PEFT, and load the merged model.',
    });
  }
  const keys = Object.keys(loraSettings.shape);
  const own = Object.entries(parsed.data).filter(([key, value]) => keys.includes(key) && value !== null);
  const classifier = parsed.data.task_type === 'SEQ_CLS';
  const settings = loraSettings.safeParse({
    ...Object.fromEntries(own),
    ...(classifier ? headless(own) : {}),
  });
  if (!settings.success) {
    const issue = settings.error.issues[0]!;
    throw new AnnealError('model_invalid', `${file}: ${issue.path.join('.')}: ${issue.message}.`, {
      path: file,
    });
  }
  const base = await adapterBase(path);
  return { base, settings: settings.data, classifier };
}

/** PEFT names the head of a classifier by all names that heads have. */
function headless(fields: [string, unknown][]): { modules_to_save: unknown } {
  const saved = fields.find(([key]) => key === 'modules_to_save')?.[1] ?? [];
  return {
    modules_to_save: Array.isArray(saved)
      ? saved.filter((name) => name !== 'classifier' && name !== 'score')
      : saved,
  };
}

/** The adapter over an architecture: that of its base, with a scalar head for a classifier. */
export function adapterOver(path: string, config: AdapterConfig, architecture: Architecture): AdapterFolder {
  const file = join(path, ADAPTER_CONFIG);
  try {
    const options = adapterOptions(config.settings, architecture, 'lora');
    return { ...config, path, options: { ...options, trainable: false }, tied: tiesHead(architecture) };
  } catch (cause) {
    if (!(cause instanceof AnnealError)) throw cause;
    throw new AnnealError('model_invalid', `${file} does not fit its base ${config.base}: ${cause.message}`, {
      path: file,
      cause,
      hint: 'Set base_model_name_or_path to the base that the adapter was made for.',
    });
  }
}

/** Puts an adapter into its place in a session; refuses one that belongs to another base. */
export async function importAdapter(session: Session, index: number, folder: AdapterFolder): Promise<void> {
  // PEFT keeps such an adapter over a base without the directions that it began with.
  if (folder.settings.init_lora_weights === 'pissa')
    await session.initAdapter(index, { seed: 0, kind: 'pissa' });
  await importAdapterWeights(session, index, folder);
}

/**
 * Puts the weights of an adapter into their place; the base is as the adapter needs it. A scalar head that the folder
 * is not said to have stays as it is.
 */
export async function importAdapterWeights(
  session: Session,
  index: number,
  folder: AdapterFolder,
): Promise<void> {
  const path = join(folder.path, WEIGHTS);
  const file = await readSafetensors(path);
  const entries = new Map(file.entries.map((entry) => [engineName(entry.name), entry]));
  const [embeddings, head] = [entries.get(EMBEDDINGS), entries.get(TIED_HEAD)];
  if (folder.tied && embeddings && head) {
    if (!(await sameContent(path, embeddings, head)))
      throw otherBase(folder, 'its copies of embeddings and head differ, which are one there');
    entries.delete(TIED_HEAD);
  }
  const recorded = file.metadata[BASE_HASH];
  if (recorded !== undefined && recorded !== (await weightsHash(folder.base))) {
    throw otherBase(folder, 'the weights of that model are not those that it was trained on');
  }
  const wanted = session
    .tensors(index)
    .filter(({ name }) => name !== SCORE_HEAD || folder.options.scoreHead === true);
  const sources = wanted.map(({ name, shape }): TensorSource => {
    const entry = entries.get(name);
    entries.delete(name);
    if (!entry) {
      throw new AnnealError('model_invalid', `${path} lacks the tensor ${peftName(name, folder.options)}.`, {
        path,
        hint: 'The file may be incomplete, or adapter_config.json belongs to another adapter.',
      });
    }
    if (entry.shape.join() !== shape.join()) {
      throw otherBase(
        folder,
        `${entry.name} has shape [${entry.shape.join(', ')}], and the base makes it [${shape.join(', ')}]`,
      );
    }
    if (entry.dtype !== 'F32' && entry.dtype !== 'F16' && entry.dtype !== 'BF16') {
      throw new AnnealError('model_invalid', `${path}: ${entry.name} is of type ${entry.dtype}.`, {
        path,
        hint: 'Weights are read as F32, F16 or BF16; convert the adapter to one of these.',
      });
    }
    return { name, path, offset: entry.offset, dtype: entry.dtype };
  });
  const [unknown] = entries.values();
  if (unknown) {
    throw new AnnealError(
      'model_invalid',
      `${path} has a tensor that nothing has a place for: ${unknown.name}.`,
      {
        path,
        hint: 'adapter_config.json and the weights belong to different adapters.',
      },
    );
  }
  await session.importTensors(sources, index);
}

function otherBase(folder: AdapterFolder, what: string): AnnealError {
  return new AnnealError(
    'model_invalid',
    `The adapter ${folder.path} does not fit its base ${folder.base}: ${what}.`,
    {
      path: folder.path,
      hint: 'Set base_model_name_or_path in adapter_config.json to the base it was made for.',
    },
  );
}

export interface SaveAdapterOptions {
  settings: LoraSettings;
  options: AdapterOptions;
  /** Folder of the base. */
  base: string;
  /** The model's: a scalar head that it lacks is a help in training. */
  architecture: Architecture;
  /**
   * Of an adapter that began with `pissa`: the adapter of the session that holds what it began with. It is saved as a
   * difference to the untouched base then: [A; A0] and [B, -B0], of twice the rank.
   */
  initial?: number | undefined;
}

/** Writes adapter_config.json and the weights to a folder that exists. */
export async function saveAdapter(
  session: Session,
  index: number,
  dir: string,
  save: SaveAdapterOptions,
): Promise<void> {
  const { settings, options, base, architecture, initial } = save;
  const classifier = architecture.scoreHead === true;
  const tensors: { name: string; shape: number[]; values: Float32Array }[] = [];
  for (const { name, shape } of session.tensors(index)) {
    if (name === SCORE_HEAD && !classifier) continue;
    const values = await session.readTensor(name, 'weight', index);
    const began = initial === undefined ? undefined : await session.readTensor(name, 'weight', initial);
    tensors.push({
      name: peftName(name, options),
      ...(began && isFactor(name) ? beside(name, shape, values, began) : { shape, values }),
    });
  }
  const copied = tensors.find(({ name }) => name === peftName(EMBEDDINGS, options));
  if (copied && tiesHead(architecture)) tensors.push({ ...copied, name: peftName(TIED_HEAD, options) });
  const header = makeSafetensorsHeader(tensors, { format: 'pt', [BASE_HASH]: await weightsHash(base) });
  const bytes = tensors.map(
    ({ values }) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  );
  await writeFileAtomic(join(dir, WEIGHTS), Buffer.concat([header, ...bytes]));
  const written = initial === undefined ? settings : doubled(settings);
  const config = {
    peft_type: 'LORA',
    task_type: classifier ? 'SEQ_CLS' : 'CAUSAL_LM',
    base_model_name_or_path: base,
    inference_mode: true,
    ...written,
    modules_to_save: written.modules_to_save.length === 0 ? null : written.modules_to_save,
    layers_to_transform: written.layers_to_transform ?? null,
  };
  await writeFileAtomic(join(dir, ADAPTER_CONFIG), `${JSON.stringify(config, null, 2)}\n`);
}

/** PEFT's name of an adapter's tensor. */
export function peftName(name: string, options: Pick<AdapterOptions, 'modules'>): string {
  const module = /^(.*)\.bias$/.exec(name)?.[1];
  const targeted = module !== undefined && options.modules.some((each) => each.name === module);
  return `${PREFIX}${targeted ? `${module}.base_layer.bias` : name}`;
}

function engineName(name: string): string {
  return name.replace(PREFIX, '').replace('.base_layer.bias', '.bias');
}

function isFactor(name: string): boolean {
  return /\.lora_[AB]\.weight$/.test(name);
}

/** [A; A0] or [B, -B0]. */
function beside(
  name: string,
  [rows, columns]: number[],
  values: Float32Array,
  began: Float32Array,
): { shape: number[]; values: Float32Array } {
  const both = new Float32Array(2 * values.length);
  if (name.endsWith('.lora_A.weight')) {
    both.set(values);
    both.set(began, values.length);
    return { shape: [2 * rows!, columns!], values: both };
  }
  for (let row = 0; row < rows!; row++) {
    const at = row * columns!;
    both.set(values.subarray(at, at + columns!), 2 * at);
    for (let i = 0; i < columns!; i++) both[2 * at + columns! + i] = -began[at + i]!;
  }
  return { shape: [rows!, 2 * columns!], values: both };
}

/** Settings of an adapter of twice the rank and the same scale. */
function doubled(settings: LoraSettings): LoraSettings {
  const factor = settings.use_rslora ? Math.SQRT2 : 2;
  const times = (values: Record<string, number>, by: number) =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [key, by * value]));
  return {
    ...settings,
    r: 2 * settings.r,
    lora_alpha: factor * settings.lora_alpha,
    rank_pattern: times(settings.rank_pattern, 2),
    alpha_pattern: times(settings.alpha_pattern, factor),
    init_lora_weights: true,
  };
}

/** Hash of the weights of a model folder. */
export async function weightsHash(dir: string): Promise<string> {
  const index = join(dir, 'model.safetensors.index.json');
  if (!(await exists(index))) return hashFile(join(dir, 'model.safetensors'));
  const { weight_map } = JSON.parse(await readFile(index, 'utf8')) as { weight_map: Record<string, string> };
  const files = [...new Set(Object.values(weight_map))].sort();
  return hashValue(await Promise.all(files.map((file) => hashFile(join(dir, file)))));
}

function isEmpty(value: unknown): boolean {
  return value !== null && typeof value === 'object' && Object.keys(value).length === 0;
}
