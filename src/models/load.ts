/**
 * Model folders in Hugging Face's layout, read: config.json and safetensors, whole or in shards. Everything is
 * checked against the architecture before a session is made or a value read.
 */
import { basename, join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type {
  Addon,
  Architecture,
  Session,
  SessionOptions,
  TensorInfo,
  TensorSource,
} from '../native/addon.ts';
import { exists, readJson } from '../util/files.ts';
import { type AdapterFolder, adapterOver, importAdapter, readAdapterConfig, SCORE_HEAD } from './adapter.ts';
import { isAdapterFolder } from './adapter_base.ts';
import { type Family, readConfig, rewardArchitecture } from './families.ts';
import { readSafetensorsHeader, type TensorEntry } from './safetensors.ts';

/** A model folder whose config has been read. */
export interface ModelFolder {
  path: string;
  family: Family;
  architecture: Architecture;
  initializerRange: number;
  /** The folder is an adapter's: the weights are those of its base and its own. */
  adapter?: AdapterFolder;
}

/** Values that other programs save and the decoder computes by itself. */
const DERIVED = /(rotary_emb\.inv_freq|attn\.(masked_)?bias)$/;

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** Reads the config of a model folder, or of an adapter's and of its base. */
export async function openModelFolder(path: string): Promise<ModelFolder> {
  if (!(await isAdapterFolder(path))) return openWeightsFolder(path);
  const config = await readAdapterConfig(path);
  const base = await openWeightsFolder(config.base);
  const architecture =
    config.classifier && !base.architecture.scoreHead
      ? rewardArchitecture(base.architecture)
      : base.architecture;
  return { ...base, path, architecture, adapter: adapterOver(path, config, architecture) };
}

/** The same of a model that writes; one with a scalar head, which judges what others write, is refused. */
export async function openLanguageModel(path: string): Promise<ModelFolder> {
  const folder = await openModelFolder(path);
  if (folder.architecture.scoreHead !== true) return folder;
  throw new AnnealError('model_invalid', `${path} is a reward model: it gives scores, and writes no text.`, {
    path,
    hint: 'Name a model that was trained to write; a reward model goes where the key is reward_model.',
  });
}

async function openWeightsFolder(path: string): Promise<ModelFolder> {
  const file = join(path, 'config.json');
  if (!(await exists(file))) {
    throw new AnnealError('model_invalid', `${path} has no config.json.`, {
      path,
      hint: 'Name a folder in the Hugging Face layout: config.json, model.safetensors, tokenizer.json.',
    });
  }
  const config = await readJson(file, 'model_invalid');
  const { family, architecture } = readConfig(config, file);
  const range = (config as { initializer_range?: unknown }).initializer_range;
  return { path, family, architecture, initializerRange: typeof range === 'number' ? range : 0.02 };
}

/** What a session for a folder is asked for: its architecture, and room for its adapter. */
export function sessionOptions(
  folder: ModelFolder,
  options: Omit<SessionOptions, 'architecture'>,
): SessionOptions {
  const { architecture, adapter } = folder;
  return { ...options, architecture, ...(adapter ? { adapters: [adapter.options] } : {}) };
}

/** A session with the weights of a folder, an adapter merged into its base; closed again when they do not fit. */
export async function loadModel(
  addon: Addon,
  folder: ModelFolder,
  options: Omit<SessionOptions, 'architecture' | 'adapters'>,
): Promise<Session> {
  const session = await loadUnmerged(addon, folder, options);
  return filled(session, async () => {
    if (folder.adapter) await session.mergeAdapter(0);
  });
}

/** A session with the weights of a folder; an adapter is adapter 0 of it. */
export async function loadUnmerged(
  addon: Addon,
  folder: ModelFolder,
  options: Omit<SessionOptions, 'architecture' | 'adapters'>,
): Promise<Session> {
  const session = await openBase(addon, folder, sessionOptions(folder, options), undefined);
  return filled(session, async () => {
    if (folder.adapter) await importAdapter(session, 0, folder.adapter);
  });
}

/**
 * A session with the weights of a folder, or of an adapter's base; closed again when they do not fit. With `newHead`
 * a scalar head that the folder lacks is made anew.
 */
export async function openBase(
  addon: Addon,
  folder: ModelFolder,
  options: SessionOptions,
  newHead: { seed: number } | undefined,
): Promise<Session> {
  const entries = await readEntries(folder.adapter?.base ?? folder.path);
  const session = await addon.createSession(options);
  return filled(session, async () => {
    const isNew = ({ name }: TensorInfo) => name === SCORE_HEAD && !entries.has(name);
    const tensors = session.tensors();
    if (newHead && tensors.some(isNew)) await session.initWeights(newHead.seed, folder.initializerRange);
    const wanted =
      newHead || folder.adapter?.options.scoreHead ? tensors.filter((tensor) => !isNew(tensor)) : tensors;
    await session.importTensors(matchTensors(wanted, entries, folder));
  });
}

/** Fills a session, or closes it. */
async function filled(session: Session, fill: () => Promise<void>): Promise<Session> {
  try {
    await fill();
    return session;
  } catch (error) {
    await session.close();
    throw error;
  }
}

/** Puts the weights of a folder into a session of its architecture; a scalar head that only the session has stays. */
export async function importWeights(session: Session, folder: ModelFolder): Promise<void> {
  const wanted = session
    .tensors()
    .filter(({ name }) => name !== SCORE_HEAD || folder.architecture.scoreHead === true);
  await session.importTensors(matchTensors(wanted, await readEntries(folder.path), folder));
}

/** Every tensor on disk by name, with its file. */
async function readEntries(dir: string): Promise<Map<string, TensorEntry & { path: string }>> {
  const entries = new Map<string, TensorEntry & { path: string }>();
  const indexFile = join(dir, 'model.safetensors.index.json');
  const single = join(dir, 'model.safetensors');
  if (!(await exists(indexFile))) {
    for (const entry of await readSafetensorsHeader(single))
      entries.set(entry.name, { ...entry, path: single });
    return entries;
  }
  const index = indexSchema.safeParse(await readJson(indexFile, 'model_invalid'));
  if (!index.success) {
    throw new AnnealError('model_invalid', `${indexFile} has no weight_map from tensors to files.`, {
      path: indexFile,
    });
  }
  const shards = new Map<string, Map<string, TensorEntry>>();
  for (const [name, shard] of Object.entries(index.data.weight_map)) {
    if (shard !== basename(shard) || shard === '..') {
      throw new AnnealError('model_invalid', `${indexFile} names a file outside of its folder: ${shard}.`, {
        path: indexFile,
      });
    }
    const path = join(dir, shard);
    let tensors = shards.get(shard);
    if (!tensors) {
      tensors = new Map((await readSafetensorsHeader(path)).map((entry) => [entry.name, entry]));
      shards.set(shard, tensors);
    }
    const entry = tensors.get(name);
    if (!entry) {
      throw new AnnealError('model_invalid', `${path} lacks ${name}, which ${indexFile} says it holds.`, {
        path,
      });
    }
    entries.set(name, { ...entry, path });
  }
  return entries;
}

/** Where each tensor of the session is to be read from; missing, misshapen and unknown tensors are errors. */
function matchTensors(
  wanted: TensorInfo[],
  entries: ReadonlyMap<string, TensorEntry & { path: string }>,
  folder: ModelFolder,
): TensorSource[] {
  const rest = new Set(entries.keys());
  const sources = wanted.map(({ name, shape }): TensorSource => {
    const entry = entries.get(name);
    if (!entry) {
      throw new AnnealError('model_invalid', `${folder.path} lacks the tensor ${name}.`, {
        path: folder.path,
        hint: 'The download may be incomplete, or config.json belongs to another model.',
      });
    }
    if (entry.shape.length !== shape.length || entry.shape.some((size, i) => size !== shape[i])) {
      throw new AnnealError(
        'model_invalid',
        `${entry.path}: ${name} has shape [${entry.shape.join(', ')}], but config.json makes it [${shape.join(', ')}].`,
        { path: entry.path, hint: 'config.json and the weights belong to different models.' },
      );
    }
    if (entry.dtype !== 'F32' && entry.dtype !== 'F16' && entry.dtype !== 'BF16') {
      throw new AnnealError('model_invalid', `${entry.path}: ${name} is of type ${entry.dtype}.`, {
        path: entry.path,
        hint: 'Weights are read as F32, F16 or BF16; convert the model to one of these.',
      });
    }
    rest.delete(name);
    return { name, path: entry.path, offset: entry.offset, dtype: entry.dtype };
  });
  for (const name of rest) {
    // A tied head is sometimes stored a second time.
    if (DERIVED.test(name) || (name === 'lm_head.weight' && folder.architecture.tieEmbeddings)) continue;
    throw new AnnealError(
      'model_invalid',
      `${folder.path} has a tensor that its architecture has no place for: ${name}.`,
      {
        path: folder.path,
        hint: 'Check the biases and the number of layers in config.json.',
      },
    );
  }
  return sources;
}
