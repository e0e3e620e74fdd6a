/**
 * Samples laid end to end for the engine: a prompt once for all its samples that stand side by side. Scored are the
 * rows that predict the completions' tokens, in the order of the samples.
 */
import type { Batch } from '../native/addon.ts';
import { packGroups } from '../preference/batch.ts';

export interface PackedSample {
  /** Samples with the same number that stand side by side share their prompt. */
  group: number;
  prompt: Int32Array;
  ids: Int32Array;
}

/** Packs samples of at least one token each. */
export function packSamples(samples: readonly PackedSample[]): Batch {
  const groups: { group: number; prompt: Int32Array; answers: Int32Array[] }[] = [];
  for (const { group, prompt, ids } of samples) {
    const last = groups.at(-1);
    if (last?.group === group) last.answers.push(ids);
    else groups.push({ group, prompt, answers: [ids] });
  }
  const unlabelled = { origin: '', ranking: [], margin: undefined, desirable: undefined, teacher: undefined };
  return packGroups(
    groups.map((group) => ({ ...unlabelled, ...group })),
    { outputs: 'tokens' },
  ).batch;
}
