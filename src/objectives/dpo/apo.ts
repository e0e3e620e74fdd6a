/** `apo_zero` and `apo_down`: anchored preference optimisation (D'Oosterlinck et al. 2024). */
import { sigmoid } from '../numerics.ts';
import { type PairLoss, pairwise } from './loss.ts';

/** Derivative of sigmoid at a value. */
function bell(x: number): number {
  return sigmoid(x) * sigmoid(-x);
}

/** sigmoid(-beta chosen) + sigmoid(beta rejected) */
export const apoZeroLoss: PairLoss = {
  name: 'apo_zero',
  doc: 'Chosen up, rejected down: for chosen answers better than what the model writes (APO, eq. 7).',
  on: 'ratios',
  evaluate: pairwise((chosen, rejected, _, { beta }) => ({
    loss: sigmoid(-beta * chosen) + sigmoid(beta * rejected),
    chosen: -beta * bell(beta * chosen),
    rejected: beta * bell(beta * rejected),
  })),
};

/** sigmoid(beta chosen) + sigmoid(-beta (chosen - rejected)) */
export const apoDownLoss: PairLoss = {
  name: 'apo_down',
  doc: 'Both down, rejected more: for chosen answers worse than what the model writes (APO, eq. 8).',
  on: 'ratios',
  evaluate: pairwise((chosen, rejected, _, { beta }) => {
    const apart = beta * bell(beta * (chosen - rejected));
    return {
      loss: sigmoid(beta * chosen) + sigmoid(-beta * (chosen - rejected)),
      chosen: beta * bell(beta * chosen) - apart,
      rejected: apart,
    };
  }),
};
