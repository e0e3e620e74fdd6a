/** `ipo`: a squared distance to a fixed margin. */
import { type PairLoss, pairwise } from './loss.ts';

/** (chosen / |chosen| - rejected / |rejected| - 1 / (2 beta))^2: per token, as its authors ran it. */
export const ipoLoss: PairLoss = {
  name: 'ipo',
  doc: 'Squared distance of the difference per token to 1/(2 beta) (IPO, Azar et al. 2023, eq. 17).',
  on: 'scores',
  evaluate: pairwise((chosen, rejected, { chosenLength, rejectedLength }, { beta }) => {
    const error = chosen / chosenLength - rejected / rejectedLength - 1 / (2 * beta);
    return {
      loss: error * error,
      chosen: (2 * error) / chosenLength,
      rejected: (-2 * error) / rejectedLength,
    };
  }),
};
