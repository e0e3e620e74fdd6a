/** `sigmoid` and `sigmoid_norm`: the logistic loss of DPO, by answer and by token. */
import { logSigmoid, sigmoid } from '../numerics.ts';
import { ofDifference, type PairLoss, pairwise } from './loss.ts';

/** -log sigmoid(beta d) */
export const sigmoidLoss: PairLoss = {
  name: 'sigmoid',
  doc: 'Logistic loss on the difference of rewards (DPO, Rafailov et al. 2023, eq. 7).',
  on: 'scores',
  evaluate: ofDifference((d, { beta }) => ({
    loss: -logSigmoid(beta * d),
    slope: -beta * sigmoid(-beta * d),
  })),
};

/** -log sigmoid(beta (chosen / |chosen| - rejected / |rejected|)) */
export const sigmoidNormLoss: PairLoss = {
  name: 'sigmoid_norm',
  doc: 'The logistic loss on rewards per token (Tulu 3, Lambert et al. 2024, section 5.1.2).',
  on: 'scores',
  evaluate: pairwise((chosen, rejected, { chosenLength, rejectedLength }, { beta }) => {
    const z = beta * (chosen / chosenLength - rejected / rejectedLength);
    const slope = -beta * sigmoid(-z);
    return { loss: -logSigmoid(z), chosen: slope / chosenLength, rejected: -slope / rejectedLength };
  }),
};
