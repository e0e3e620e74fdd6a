/** `sft`: likelihood of the chosen answer, to be added to another loss (RPO, MPO). */
import type { PairLoss } from './loss.ts';

/** Negative log-likelihood of the chosen answers, a mean over their tokens. */
export const sftLoss: PairLoss = {
  name: 'sft',
  doc: 'Negative log-likelihood of the chosen answers, a mean over tokens; for weighted sums (RPO, Liu et al. 2024).',
  on: 'tokens',
  evaluate: ({ chosenLogps }) => ({
    losses: chosenLogps.map((logp) => -logp),
    chosen: new Float64Array(chosenLogps.length).fill(-1),
    rejected: new Float64Array(chosenLogps.length),
  }),
};
