/** Loss on rows that are not trained, in the order of the dataset. */
import type { Batch, Session } from '../native/addon.ts';
import { negativeLogLikelihood } from '../objectives/cross_entropy.ts';
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
 * Mean negative log-likelihood in nats over the scored positions; `fields` are those of every batch, `between` runs
 * before each.
 */
export async function validationLoss(
  session: Session,
  source: RowSource,
  batches: readonly (readonly number[])[],
  fields: Pick<Batch, 'adapter'>,
  between: () => Promise<void>,
): Promise<number> {
  let loss = 0;
  let scored = 0;
  for (const rows of batches) {
    await between();
    const { logProbs } = await session.forward({ ...packBatch(source, rows), ...fields });
    loss += negativeLogLikelihood(logProbs);
    scored += logProbs.length;
  }
  return loss / scored;
}
