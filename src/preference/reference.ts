/**
 * Log-probabilities of the reference for packed groups: from the reference model at each step, or computed for all
 * rows beforehand and kept by content (`precompute_ref_log_probs`).
 */
import type { AnswerGroup } from '../data/preference.ts';
import type { Batch, Scores } from '../native/addon.ts';
import { batchesOf, groupScored, type PackedGroups, type PackOptions, packGroups } from './batch.ts';
import { type ContentCache, cacheKey } from './content_cache.ts';

export interface ReferenceLogProbs {
  /** Of the scored rows of `packed`, which holds `groups`. */
  logProbs(groups: readonly AnswerGroup[], packed: PackedGroups): Promise<Float32Array>;
}

/** Asks the reference model each time. */
export function liveReference(reference: { forward(batch: Batch): Promise<Scores> }): ReferenceLogProbs {
  return { logProbs: async (_, { batch }) => (await reference.forward(batch)).logProbs };
}

/** Rows of a batch whose numbers are kept; a group with more is alone. It decides the keys. */
export const KEPT_BATCH_ROWS = 4096;

export interface Precomputed extends ReferenceLogProbs {
  /** Rows whose numbers were found, and those that were computed. */
  found: number;
  computed: number;
}

/** What a batch's numbers are decided by, besides the rows. */
export interface Provenance {
  /** `modelContentHash` of the folders that make up the model. */
  model: string;
  threads: number;
}

/**
 * Numbers for all groups, found or computed. Which rows make a batch depends on the rows alone, so that the same
 * rows are found again, and a run that was stopped goes on with the same bits. `model` is opened when the first batch
 * is missing.
 */
export async function precompute(
  groups: readonly AnswerGroup[],
  options: PackOptions,
  provenance: Provenance,
  cache: ContentCache,
  model: () => Promise<{ forward(batch: Batch): Promise<Scores> }>,
  between: (done: number) => Promise<void>,
): Promise<Precomputed> {
  const rows = new Map<AnswerGroup, Float32Array>();
  const result = { found: 0, computed: 0 };
  for (const batch of batchesOf(groups, options, KEPT_BATCH_ROWS)) {
    await between(rows.size);
    const key = cacheKey({
      kind: 'log_probs',
      ...provenance,
      rows: batch.map(({ prompt, answers }) => [[...prompt], ...answers.map((answer) => [...answer])]),
      ...(batch.some((group) => group.scored) && {
        scored: batch.map(({ scored }) => scored?.map((marks) => [...marks]) ?? null),
      }),
      scorePrompt: options.scorePrompt ?? false,
    });
    const scored = batch.reduce((sum, group) => sum + groupScored(group, options), 0);
    const [bytes] = (await cache.read(key)) ?? [];
    let logProbs: Float32Array;
    if (bytes?.length === scored * Float32Array.BYTES_PER_ELEMENT) {
      logProbs = new Float32Array(bytes.buffer);
      result.found += batch.length;
    } else {
      logProbs = (await (await model()).forward(packGroups(batch, options).batch)).logProbs;
      await cache.write(key, [logProbs]);
      result.computed += batch.length;
    }
    let at = 0;
    for (const group of batch) {
      const end = at + groupScored(group, options);
      rows.set(group, logProbs.subarray(at, end));
      at = end;
    }
  }
  return {
    ...result,
    async logProbs(wanted, { batch }) {
      const joined = new Float32Array(batch.scored.length);
      let at = 0;
      for (const group of wanted) {
        const own = rows.get(group)!;
        joined.set(own, at);
        at += own.length;
      }
      return joined;
    },
  };
}
