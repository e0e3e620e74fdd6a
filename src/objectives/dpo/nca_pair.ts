/** `nca_pair`: absolute likelihoods by noise contrast, for a pair. */
import { logSigmoid, sigmoid } from '../numerics.ts';
import { type PairLoss, pairwise } from './loss.ts';

/** -log sigmoid(w) - (log sigmoid(-w) + log sigmoid(-l)) / 2 with w, l the rewards of chosen and rejected */
export const ncaPairLoss: PairLoss = {
  name: 'nca_pair',
  doc: 'Noise contrastive alignment: absolute rewards instead of their difference (NCA, Chen et al. 2024).',
  on: 'ratios',
  evaluate: pairwise((chosen, rejected, _, { beta }) => {
    const [w, l] = [beta * chosen, beta * rejected];
    return {
      loss: -logSigmoid(w) - (logSigmoid(-w) + logSigmoid(-l)) / 2,
      chosen: beta * (-sigmoid(-w) + sigmoid(w) / 2),
      rejected: (beta * sigmoid(l)) / 2,
    };
  }),
};
