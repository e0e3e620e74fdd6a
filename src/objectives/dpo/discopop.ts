/** `discopop`: the blend of logistic and exponential loss that a search by language models found. */
import { logSigmoid, sigmoid } from '../numerics.ts';
import { ofDifference, type PairLoss } from './loss.ts';

/** (1 - m) (-log sigmoid(z)) + m exp(-z) with z = beta d and m = sigmoid(z / tau) */
export const discopopLoss: PairLoss = {
  name: 'discopop',
  doc: 'Logistic and exponential loss, blended by the size of the margin (DiscoPOP, Lu et al. 2024, eq. 5). Not convex: at margins near 0, where training begins, it lowers them.',
  on: 'scores',
  uses: ['discopop_tau'],
  evaluate: ofDifference((d, { beta, discopopTau: tau }) => {
    const z = beta * d;
    const m = sigmoid(z / tau);
    const blend = (m * sigmoid(-z / tau)) / tau;
    const [logistic, exponential] = [-logSigmoid(z), Math.exp(-z)];
    return {
      loss: logistic * (1 - m) + exponential * m,
      slope: beta * (-sigmoid(-z) * (1 - m) - exponential * m + (exponential - logistic) * blend),
    };
  }),
};
