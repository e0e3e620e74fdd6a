/**
 * Model folders in Hugging Face's layout, written, and read back before they count as saved: log-probabilities on
 * fixed prompts must be those of the weights in memory.
 */
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { Addon, Architecture, Batch, Session } from '../native/addon.ts';
import { saveTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { exists, readJson, writeFileAtomic } from '../util/files.ts';
import { type SaveAdapterOptions, SCORE_HEAD, saveAdapter } from './adapter.ts';
import { folderOf } from './adapter_base.ts';
import { type Family, writeConfig } from './families.ts';
import { loadUnmerged, openModelFolder } from './load.ts';
import { makeSafetensorsHeader } from './safetensors.ts';

export interface SaveOptions {
  family: Family;
  architecture: Architecture;
  initializerRange: number;
  tokenizer: Pick<Tokenizer, 'files' | 'bosId' | 'eosId'> & Partial<Pick<Tokenizer, 'specials'>>;
  /** Tokens that end a generation; `eos_token_id` of generation_config.json. */
  stopIds: number[];
}

/** Writes the session's weights and all that goes with them to a folder that exists. */
export async function saveModel(session: Session, dir: string, options: SaveOptions): Promise<void> {
  const { family, architecture, tokenizer, stopIds } = options;
  const { bosId, eosId } = tokenizer;
  const config = writeConfig(family, architecture, {
    bosId,
    eosId,
    padId: paddingId(tokenizer, stopIds),
    initializerRange: options.initializerRange,
  });
  await writeFileAtomic(join(dir, 'config.json'), json(config));
  await saveText(dir, tokenizer, stopIds);
  // A session may have a head for values that is no part of the model.
  const tensors = session
    .tensors()
    .filter(({ name }) => architecture.scoreHead === true || name !== SCORE_HEAD);
  const header = makeSafetensorsHeader(tensors, { format: 'pt' });
  await session.exportTensors(
    join(dir, 'model.safetensors'),
    header,
    tensors.map((tensor) => tensor.name),
  );
}

/**
 * A special token that ends no answer. transformers reads a classifier's value at the last token that is not this one,
 * so padding with EOS would move it away from where it was trained.
 */
function paddingId({ bosId, specials }: SaveOptions['tokenizer'], stopIds: number[]): number | undefined {
  return [...(bosId === undefined ? [] : [bosId]), ...(specials?.values() ?? [])].find(
    (id) => !stopIds.includes(id),
  );
}

/** Writes an adapter of the session, and the tokenizer that it is used with, to a folder that exists. */
export async function saveAdapterModel(
  session: Session,
  adapter: number,
  dir: string,
  options: SaveAdapterOptions & Pick<SaveOptions, 'tokenizer' | 'stopIds'>,
): Promise<void> {
  await saveText(dir, options.tokenizer, options.stopIds);
  await saveAdapter(session, adapter, dir, options);
}

/** The files that say how text becomes ids, and where a generation ends. */
async function saveText(dir: string, tokenizer: SaveOptions['tokenizer'], stopIds: number[]): Promise<void> {
  await saveTokenizer(tokenizer, dir);
  await writeFileAtomic(
    join(dir, 'generation_config.json'),
    json({
      bos_token_id: tokenizer.bosId ?? null,
      eos_token_id: stopIds.length === 1 ? stopIds[0] : stopIds.length === 0 ? null : stopIds,
    }),
  );
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** Tokens that end a generation, as generation_config.json of a model folder says; else the tokenizer's EOS. */
export async function readStopIds(dir: string, tokenizer: Pick<Tokenizer, 'eosId'>): Promise<number[]> {
  const file = join(await folderOf(dir, 'generation_config.json'), 'generation_config.json');
  const config = (await exists(file))
    ? ((await readJson(file, 'model_invalid')) as Record<string, unknown>)
    : {};
  const ids = [config.eos_token_id].flat().filter((id): id is number => Number.isSafeInteger(id));
  return [...new Set([...ids, ...(tokenizer.eosId === undefined ? [] : [tokenizer.eosId])])];
}

/** Rows of the fixed prompts; a session that is to be probed must hold as many. */
export const PROBE_TOKENS = 64;
const PROBE_SEQUENCES = 4;

/** The fixed prompts, every position scored. */
export function probeBatch(architecture: Architecture): Batch {
  const length = Math.min(PROBE_TOKENS / PROBE_SEQUENCES, architecture.maxPositions);
  const total = length * PROBE_SEQUENCES;
  // A multiplicative sequence over the vocabulary: no matter which ids, as long as they are always the same.
  const id = (i: number) => Number((BigInt(i + 1) * 2_654_435_761n) % BigInt(architecture.vocabSize));
  return {
    tokens: Int32Array.from({ length: total }, (_, i) => id(i)),
    cuSeqlens: Int32Array.from({ length: PROBE_SEQUENCES + 1 }, (_, s) => s * length),
    scored: Int32Array.from({ length: total }, (_, i) => i),
    targets: Int32Array.from({ length: total }, (_, i) => id(i + 1)),
  };
}

/**
 * Log-probabilities on the fixed prompts, or values of a model with a scalar head: the same numbers for the same
 * weights. With `adapter`, of that adapter over the base.
 */
export async function probeModel(
  session: Session,
  architecture: Architecture,
  adapter?: number,
): Promise<Float32Array> {
  const { logProbs, values } = await session.forward({
    ...probeBatch(architecture),
    ...(adapter === undefined ? {} : { adapter }),
    ...(architecture.scoreHead ? { outputs: 'values' } : {}),
  });
  return architecture.scoreHead ? values : logProbs;
}

/** Loads a saved folder into a session of its own and compares it with what `probeModel` said before. */
export async function readBack(
  addon: Addon,
  dir: string,
  threads: number,
  expected: Float32Array,
): Promise<void> {
  const folder = await openModelFolder(dir);
  const session = await loadUnmerged(addon, folder, {
    threads,
    trainable: false,
    maxTokens: PROBE_TOKENS,
    maxSequences: PROBE_SEQUENCES,
    maxScored: PROBE_TOKENS,
    recompute: false,
    generationSlots: 0,
    generationLength: 0,
  });
  try {
    const found = await probeModel(session, folder.architecture, folder.adapter ? 0 : undefined);
    // Math.max keeps a NaN once it has seen one.
    const worst = expected.reduce((max, value, i) => Math.max(max, Math.abs(found[i]! - value)), 0);
    if (found.length !== expected.length || !(worst <= 1e-5)) {
      throw new AnnealError(
        'readback_failed',
        `${dir}, loaded again, differs by ${worst} in a log-probability.`,
        {
          path: dir,
          hint: 'Check the disk and the memory of this machine; the checkpoints of the job are kept.',
        },
      );
    }
  } finally {
    await session.close();
  }
}
