/**
 * CPO (Xu et al. 2024) and SimPO (Meng et al. 2024): preference without a reference, with the likelihood of the
 * chosen answers beside it (`cpoAlpha`). SimPO and IPO look at mean log-probabilities, the others at sums. AlphaPO
 * (Gupta et al. 2025) bends the reward: (1 - p^-alpha) / alpha.
 */
import { logSigmoid, sigmoid } from './numerics.ts';
import { type Divisors, type PairOutcome, type PairScores, sequenceLogProb } from './preference.ts';

export const CPO_LOSSES = ['sigmoid', 'hinge', 'ipo', 'simpo'] as const;

export interface CpoSettings {
  lossType: (typeof CPO_LOSSES)[number];
  beta: number;
  labelSmoothing: number;
  /** Target margin of rewards; SimPO only. */
  simpoGamma: number;
  /** Weight of the negative log-likelihood of the chosen answers. */
  cpoAlpha: number;
  /** AlphaPO's alpha; 0: the log-probability itself. */
  alpha: number;
}

export interface CpoOutcome extends PairOutcome {
  /** Sum of the negative log-likelihood of the chosen answers; 0 where it has no weight. */
  nll: number;
}

/** The objective on the pairs of a microbatch. */
export function cpo(pairs: readonly PairScores[], settings: CpoSettings, divisors: Divisors): CpoOutcome {
  const { lossType, beta, cpoAlpha } = settings;
  const byToken = lossType === 'simpo' || lossType === 'ipo';
  const logps = (side: 'chosen' | 'rejected') =>
    Float64Array.from(
      pairs,
      (pair) => sequenceLogProb(pair[side].logProbs) / (byToken ? pair[side].logProbs.length : 1),
    );
  const [chosenLogps, rejectedLogps] = [logps('chosen'), logps('rejected')];
  const outcome: CpoOutcome = {
    loss: 0,
    chosen: [],
    rejected: [],
    chosenLogps,
    rejectedLogps,
    chosenRewards: new Float64Array(pairs.length),
    rejectedRewards: new Float64Array(pairs.length),
    nll: 0,
  };
  pairs.forEach(({ chosen, rejected }, i) => {
    const c = bentReward(chosenLogps[i]!, settings.alpha);
    const r = bentReward(rejectedLogps[i]!, settings.alpha);
    const { loss, slope } = cpoLoss(c.reward - r.reward, settings);
    outcome.chosenRewards[i] = beta * c.reward;
    outcome.rejectedRewards[i] = beta * r.reward;
    outcome.loss += loss / divisors.sequences;
    const share = slope / divisors.sequences;
    const length = (side: { logProbs: ArrayLike<number> }) => (byToken ? side.logProbs.length : 1);
    const likelihood = cpoAlpha / divisors.tokens;
    if (cpoAlpha !== 0) outcome.nll -= sequenceLogProb(chosen.logProbs);
    outcome.chosen.push(
      new Float64Array(chosen.logProbs.length).fill((share * c.slope) / length(chosen) - likelihood),
    );
    outcome.rejected.push(
      new Float64Array(rejected.logProbs.length).fill((-share * r.slope) / length(rejected)),
    );
  });
  outcome.loss += (cpoAlpha * outcome.nll) / divisors.tokens;
  return outcome;
}

/** The reward of a log-probability, and its derivative. */
function bentReward(logp: number, alpha: number): { reward: number; slope: number } {
  if (alpha === 0) return { reward: logp, slope: 1 };
  return { reward: -Math.expm1(-alpha * logp) / alpha, slope: Math.exp(-alpha * logp) };
}

/** The loss of a difference of rewards, and its derivative. */
function cpoLoss(difference: number, settings: CpoSettings): { loss: number; slope: number } {
  const { lossType, beta, labelSmoothing: e, simpoGamma } = settings;
  switch (lossType) {
    case 'hinge': {
      const distance = 1 - beta * difference;
      return distance > 0 ? { loss: distance, slope: -beta } : { loss: 0, slope: 0 };
    }
    case 'ipo': {
      const error = difference - 1 / (2 * beta);
      return { loss: error * error, slope: 2 * error };
    }
    default: {
      const z = beta * difference - (lossType === 'simpo' ? simpoGamma : 0);
      return {
        loss: -(1 - e) * logSigmoid(z) - e * logSigmoid(-z),
        slope: beta * (-(1 - e) * sigmoid(-z) + e * sigmoid(z)),
      };
    }
  }
}
