/** What a plan can know of a model or dataset that an earlier stage of the same recipe has still to make. */
import { readManifest } from '../data/dataset.ts';
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

/** Tokens in the vocabulary of a dataset; the tokenizer's `vocab_size` is the most that it can become. */
export async function plannedVocabulary(dataset: PlannedInput): Promise<number> {
  if ('path' in dataset) return readManifest(dataset.path).vocab_size;
  const tokenizer = dataset.inputs.tokenizer!;
  if ('path' in tokenizer) return (await loadTokenizer(tokenizer.path)).vocabSize;
  return (tokenizer.settings as { vocab_size: number }).vocab_size;
}
