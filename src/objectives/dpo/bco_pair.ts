/** `bco_pair`: a binary classifier on pairs, without BCO's shift. */
import { logSigmoid, sigmoid } from '../numerics.ts';
import { type PairLoss, pairwise } from './loss.ts';

/** -log sigmoid(beta chosen) - log sigmoid(-beta rejected) */
export const bcoPairLoss: PairLoss = {
  name: 'bco_pair',
  doc: 'Chosen and rejected told apart by a binary classifier (BCO, Jung et al. 2024).',
  on: 'ratios',
  evaluate: pairwise((chosen, rejected, _, { beta }) => ({
    loss: -logSigmoid(beta * chosen) - logSigmoid(-beta * rejected),
    chosen: -beta * sigmoid(-beta * chosen),
    rejected: beta * sigmoid(beta * rejected),
  })),
};
