/** Loss and other metrics of rows that are not trained, in the order of the dataset. */
import type { Batch, Session } from '../native/addon.ts';
import { total } from '../objectives/cross_entropy.ts';
import { packBatch, type RowSource } from './rows.ts';

/** Row indices in batches of at most `maxTokens`; stops once `limit` tokens are reached. */
export function validationBatches(source: RowSource, maxTokens: number, limit: number): number[][] {
  const batches: number[][] = [];
  let room = 0;
  let total = 0;
  for (let row = 0; row < source.count && total < limit; row++) {
    const length = source.lengths[row]!;
    if (length > room) {
      batches.push([]);
      room = maxTokens;
    }
    batches.at(-1)!.push(row);
    room -= length;
    total += length;
  }
  return batches;
}

/**
 * Means over the scored positions: negative log-likelihood and entropy in nats, and the share of targets that are the
 * most likely token. `fields` are those of every batch, `between` runs before each.
 */
export async function validationMetrics(
  session: Session,
  source: RowSource,
  batches: readonly (readonly number[])[],
  fields: Pick<Batch, 'adapter'>,
  between: () => Promise<void>,
): Promise<Record<'eval_loss' | 'eval_entropy' | 'eval_mean_token_accuracy', number>> {
  let [logProb, entropy, hits, scored] = [0, 0, 0, 0];
  for (const rows of batches) {
    await between();
    const scores = await session.forward({ ...packBatch(source, rows), ...fields });
    logProb += total(scores.logProbs);
    entropy += total(scores.entropies);
    hits += total(scores.hits);
    scored += scores.logProbs.length;
  }
  return {
    eval_loss: -logProb / scored,
    eval_entropy: entropy / scored,
    eval_mean_token_accuracy: hits / scored,
  };
}
