/** `exo_pair`: the reverse KL divergence from the smoothed label to the model's preference. */
import { logSigmoid, sigmoid } from '../numerics.ts';
import { ofDifference, type PairLoss } from './loss.ts';

/**
 * q log(q / (1 - e)) + (1 - q) log((1 - q) / e) with q = sigmoid(beta d) and e the label smoothing.
 * Its derivative by z = beta d is q (1 - q) (z - log((1 - e) / e)).
 */
export const exoPairLoss: PairLoss = {
  name: 'exo_pair',
  doc: 'Reverse KL divergence to the smoothed label (EXO, Ji et al. 2024, eq. 16); needs label_smoothing above 0.',
  on: 'scores',
  uses: ['label_smoothing'],
  evaluate: ofDifference((d, { beta, labelSmoothing }) => {
    const z = beta * d;
    const [q, notQ] = [sigmoid(z), sigmoid(-z)];
    const [logP, logNotP] = [Math.log1p(-labelSmoothing), Math.log(labelSmoothing)];
    return {
      loss: q * (logSigmoid(z) - logP) + notQ * (logSigmoid(-z) - logNotP),
      slope: beta * q * notQ * (z - (logP - logNotP)),
    };
  }),
};
