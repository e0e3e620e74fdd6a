/** `sppo_hard`: self-play preference optimisation with hard win probabilities. */
import { type PairLoss, pairwise } from './loss.ts';

/** (chosen - 1/(2 beta))^2 + (rejected + 1/(2 beta))^2: eq. 4.7 with a win probability of 1 and 0 */
export const sppoHardLoss: PairLoss = {
  name: 'sppo_hard',
  doc: 'Squared distance of each log-ratio to half of 1/beta up and down (SPPO, Wu et al. 2024, eq. 4.7).',
  on: 'ratios',
  evaluate: pairwise((chosen, rejected, _, { beta }) => {
    const [win, lose] = [chosen - 0.5 / beta, rejected + 0.5 / beta];
    return { loss: win * win + lose * lose, chosen: 2 * win, rejected: 2 * lose };
  }),
};
