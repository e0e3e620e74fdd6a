/**
 * A loss type of the user's own: an ES module named in `loss_type`. Its default export is a function
 *
 *     (pairs, settings) => ({ losses, chosen, rejected })
 *
 * `pairs` has Float64Arrays with an entry a pair: chosenLogps, rejectedLogps, refChosenLogps, refRejectedLogps (sums
 * over the answer), chosenLengths, rejectedLengths (tokens). `settings` has beta, labelSmoothing and discopopTau. It
 * returns three arrays with an entry a pair: the loss (the mean of them is trained on), and its gradient with respect
 * to chosenLogps and rejectedLogps. It has to be a function of its arguments: a run that goes on after a stop calls it
 * again.
 */
import { pathToFileURL } from 'node:url';
import { AnnealError } from '../../../proto/errors.ts';
import type { LossSettings, PairLoss, PairLossValues, PairNumbers } from './loss.ts';

type UserLoss = (pairs: Omit<PairNumbers, 'chosen' | 'rejected'>, settings: LossSettings) => unknown;

const HINT =
  'Its default export is (pairs, settings) => ({ losses, chosen, rejected }); see docs/preference.md.';

/** Loads an objective from a file; `place` is where the recipe names it. */
export async function loadPairLoss(file: string, place: string): Promise<PairLoss> {
  const failed = (problem: string, cause?: unknown) =>
    new AnnealError('objective_invalid', `${file} ${problem}`, { path: place, hint: HINT, cause });
  let loaded: { default?: unknown };
  try {
    loaded = (await import(pathToFileURL(file).href)) as { default?: unknown };
  } catch (error) {
    throw failed(`cannot be loaded: ${message(error)}`, error);
  }
  const loss = loaded.default;
  if (typeof loss !== 'function') throw failed('has no function as its default export.');
  return {
    name: file,
    doc: 'A loss of the recipe.',
    on: 'ratios',
    uses: ['label_smoothing', 'discopop_tau'],
    evaluate(pairs, settings) {
      let values: unknown;
      try {
        values = (loss as UserLoss)(copies(pairs), { ...settings });
      } catch (error) {
        throw failed(`threw an error: ${message(error)}`, error);
      }
      return checked(values, pairs.chosen.length, failed);
    },
  };
}

/** Its own arrays: a function that writes into them changes nothing here. */
function copies(pairs: PairNumbers): Omit<PairNumbers, 'chosen' | 'rejected'> {
  const { chosenLogps, rejectedLogps, refChosenLogps, refRejectedLogps, chosenLengths, rejectedLengths } =
    pairs;
  return {
    chosenLogps: chosenLogps.slice(),
    rejectedLogps: rejectedLogps.slice(),
    refChosenLogps: refChosenLogps.slice(),
    refRejectedLogps: refRejectedLogps.slice(),
    chosenLengths: chosenLengths.slice(),
    rejectedLengths: rejectedLengths.slice(),
  };
}

function checked(values: unknown, pairs: number, failed: (problem: string) => AnnealError): PairLossValues {
  if (values === null || typeof values !== 'object') throw failed('returned no object.');
  if (values instanceof Promise) throw failed('returned a promise; it must return its values at once.');
  for (const name of ['losses', 'chosen', 'rejected'] as const) {
    const array = (values as Record<string, unknown>)[name];
    if (!Array.isArray(array) && !ArrayBuffer.isView(array)) throw failed(`returned no array \`${name}\`.`);
    const numbers = array as ArrayLike<unknown>;
    if (numbers.length !== pairs) {
      throw failed(`returned ${numbers.length} numbers in \`${name}\` for ${pairs} pairs.`);
    }
    for (let i = 0; i < pairs; i++) {
      if (typeof numbers[i] !== 'number' || !Number.isFinite(numbers[i])) {
        throw failed(`returned ${String(numbers[i])} as ${name}[${i}].`);
      }
    }
  }
  return values as PairLossValues;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
