/** `hinge`: a margin instead of the logistic loss. */
import { ofDifference, type PairLoss } from './loss.ts';

/** max(0, 1 - beta d) */
export const hingeLoss: PairLoss = {
  name: 'hinge',
  doc: 'Hinge loss on the difference of rewards (SLiC, Zhao et al. 2023; RSO, Liu et al. 2023).',
  on: 'scores',
  evaluate: ofDifference((d, { beta }) => {
    const distance = 1 - beta * d;
    return distance > 0 ? { loss: distance, slope: -beta } : { loss: 0, slope: 0 };
  }),
};
