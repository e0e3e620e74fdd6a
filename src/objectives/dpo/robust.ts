/** `robust`: unbiased when a known share of the labels is flipped. */
import { logSigmoid, sigmoid } from '../numerics.ts';
import { ofDifference, type PairLoss } from './loss.ts';

/** (-(1 - e) log sigmoid(z) + e log sigmoid(-z)) / (1 - 2 e), with z = beta d and e the share of flipped labels */
export const flippedLabelLoss: PairLoss = {
  name: 'robust',
  doc: 'Unbiased under flipped labels, label_smoothing of them (robust DPO, Chowdhury et al. 2024).',
  on: 'scores',
  uses: ['label_smoothing'],
  evaluate: ofDifference((d, { beta, labelSmoothing: e }) => {
    const z = beta * d;
    return {
      loss: (-(1 - e) * logSigmoid(z) + e * logSigmoid(-z)) / (1 - 2 * e),
      slope: (beta * (-(1 - e) * sigmoid(-z) - e * sigmoid(z))) / (1 - 2 * e),
    };
  }),
};
