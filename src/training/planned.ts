/** What a plan can know of a model or dataset that an earlier stage of the same recipe has still to make. */
import { AnnealError } from '../../proto/errors.ts';
import { readManifest } from '../data/dataset.ts';
import { resolveFiles } from '../data/files.ts';
import { contentSize } from '../data/sources/content_size.ts';
import { openModelFolder } from '../models/load.ts';
import { type ModelSettings, newArchitecture } from '../models/settings.ts';
import type { Architecture } from '../native/addon.ts';
import type { PlannedInput } from '../stages/stage.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';

/** The architecture of a model: from its folder, or from the settings of the stages that will make it. */
export async function plannedArchitecture(model: PlannedInput): Promise<Architecture> {
  if ('path' in model) return (await openModelFolder(model.path)).architecture;
  const settings = model.settings as { model?: ModelSettings | string };
  if (typeof settings.model === 'object') {
    return newArchitecture(settings.model, await plannedVocabulary(model.inputs.dataset!)).architecture;
  }
  return plannedArchitecture((model.inputs.base ?? model.inputs.model)!);
}

/** Refuses completions so long that no prompt fits before them; `key` is the setting of their length. */
export function requireRoom(key: string, tokens: number, maxLength: number): void {
  if (tokens < maxLength) return;
  throw new AnnealError(
    'recipe_invalid',
    `${key} is ${tokens}, which leaves no room for a prompt in the ${maxLength} tokens that are read.`,
    { path: key, hint: `Lower ${key}.` },
  );
}

/** Bytes of text that a token stands for, in estimates: English with a vocabulary of some thousands. */
const BYTES_PER_TOKEN = 4;

/** Tokens for training in a dataset: as counted, or estimated from the size of its sources. */
export async function plannedDatasetTokens(dataset: PlannedInput, baseDir: string): Promise<number> {
  if ('path' in dataset) return readManifest(dataset.path).splits.train.tokens;
  const settings = dataset.settings as Partial<{
    files: string[];
    sources: { files: string[]; weight: number }[];
  }>;
  let tokens = 0;
  for (const { files, weight } of settings.sources ?? [{ files: settings.files ?? [], weight: 1 }])
    tokens += weight * (await plannedFileTokens(files, baseDir));
  return tokens;
}

/** Tokens in data files, estimated from the size of their content. */
export async function plannedFileTokens(patterns: readonly string[], baseDir: string): Promise<number> {
  let bytes = 0;
  for (const file of await resolveFiles(patterns, baseDir)) bytes += await contentSize(file);
  return Math.ceil(bytes / BYTES_PER_TOKEN);
}

/** Tokens in the vocabulary of a dataset; the tokenizer's `vocab_size` is the most that it can become. */
export async function plannedVocabulary(dataset: PlannedInput): Promise<number> {
  if ('path' in dataset) return readManifest(dataset.path).vocab_size;
  const tokenizer = dataset.inputs.tokenizer!;
  if ('path' in tokenizer) return (await loadTokenizer(tokenizer.path)).vocabSize;
  return (tokenizer.settings as { vocab_size: number }).vocab_size;
}
