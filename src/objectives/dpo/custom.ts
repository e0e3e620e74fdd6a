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
import { loadUserFunction } from '../user_module.ts';
import type { PairLoss, PairNumbers } from './loss.ts';

const HINT =
  'Its default export is (pairs, settings) => ({ losses, chosen, rejected }); see docs/preference.md.';

/** Loads an objective from a file; `place` is where the recipe names it. */
export async function loadPairLoss(file: string, place: string): Promise<PairLoss> {
  const own = await loadUserFunction(file, place, HINT);
  return {
    name: file,
    doc: 'A loss of the recipe.',
    on: 'ratios',
    uses: ['label_smoothing', 'discopop_tau'],
    evaluate: (pairs, settings) =>
      own.call(
        [copies(pairs), { ...settings }],
        ['losses', 'chosen', 'rejected'],
        pairs.chosen.length,
        'pairs',
      ),
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
