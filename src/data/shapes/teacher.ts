/** What a teacher thought of an answer: its most likely tokens at each token, checked. */
import type { TopLogProbs } from './answers.ts';
import type { FieldRow } from './row.ts';

export function teacherOf(row: FieldRow): TopLogProbs | undefined {
  if (!row.has('top_ids') && !row.has('top_log_probs')) return undefined;
  const matrix = (
    role: 'top_ids' | 'top_log_probs',
    kind: string,
    allowed: (x: number) => boolean,
  ): number[][] => {
    const value = row.get(role);
    const fits = (each: unknown) =>
      Array.isArray(each) && each.length > 0 && each.every((x) => typeof x === 'number' && allowed(x));
    if (Array.isArray(value) && value.length > 0 && value.every(fits)) return value as number[][];
    throw row.failRole(role, `must be a list of ${kind} for each token of the answer`);
  };
  const result = {
    ids: matrix('top_ids', 'token ids', (x) => Number.isInteger(x) && x >= 0),
    logProbs: matrix('top_log_probs', 'numbers that are not above 0', (x) => Number.isFinite(x) && x <= 1e-3),
  };
  if (result.ids.some((ids, i) => ids.length !== result.logProbs[i]?.length))
    throw row.failRole('top_log_probs', 'must have as many numbers as top_ids');
  for (const [i, ids] of result.ids.entries()) {
    if (new Set(ids).size < ids.length) throw row.failRole('top_ids', 'names a token twice', `.${i}`);
    const mass = result.logProbs[i]!.reduce((sum, logProb) => sum + Math.exp(logProb), 0);
    // Rounded to 8 bits, log-probabilities may come to a little more than 1.
    if (mass > 1.05)
      throw row.failRole('top_log_probs', `are of probabilities that come to ${mass.toFixed(2)}`, `.${i}`);
  }
  return result;
}
