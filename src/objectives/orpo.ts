/**
 * ORPO (Hong et al. 2024): likelihood of prompt and chosen answer, and the log odds ratio of chosen to rejected, in
 * one loss and without a reference.
 */
import { log1mexp, logSigmoid, sigmoid } from './numerics.ts';
import { type Divisors, type PairOutcome, type PairScores, sequenceLogProb } from './preference.ts';

export interface OrpoOutcome extends PairOutcome {
  /** Gradient with respect to the prompt's log-probabilities. */
  prompt: Float64Array[];
  /** log(odds(chosen) / odds(rejected)), [n] */
  logOdds: Float64Array;
  /** Sum of the negative log-likelihood of prompts and chosen answers. */
  nll: number;
}

/**
 * The objective on the pairs of a microbatch; rewards are beta times mean log-probabilities.
 *
 * nll - beta log sigmoid(log odds), with log odds = (c - r) - (log(1 - e^c) - log(1 - e^r)) of mean log-probabilities
 * c and r. `prompt` holds the log-probabilities of the prompt's tokens but the first.
 */
export function orpo(
  pairs: readonly (PairScores & { prompt: ArrayLike<number> })[],
  settings: { beta: number },
  divisors: Divisors,
): OrpoOutcome {
  const { beta } = settings;
  const mean = ({ logProbs }: { logProbs: ArrayLike<number> }) => sequenceLogProb(logProbs) / logProbs.length;
  const chosenLogps = Float64Array.from(pairs, ({ chosen }) => mean(chosen));
  const rejectedLogps = Float64Array.from(pairs, ({ rejected }) => mean(rejected));
  const outcome: OrpoOutcome = {
    loss: 0,
    chosen: [],
    rejected: [],
    prompt: [],
    chosenLogps,
    rejectedLogps,
    chosenRewards: chosenLogps.map((logp) => beta * logp),
    rejectedRewards: rejectedLogps.map((logp) => beta * logp),
    logOdds: new Float64Array(pairs.length),
    nll: 0,
  };
  pairs.forEach(({ prompt, chosen, rejected }, i) => {
    const [c, r] = [chosenLogps[i]!, rejectedLogps[i]!];
    const odds = c - r - (log1mexp(c) - log1mexp(r));
    outcome.logOdds[i] = odds;
    outcome.nll -= sequenceLogProb(prompt) + sequenceLogProb(chosen.logProbs);
    outcome.loss -= (beta * logSigmoid(odds)) / divisors.sequences;
    const slope = (-beta * sigmoid(-odds)) / divisors.sequences;
    // d(x - log(1 - e^x))/dx = 1 / (1 - e^x)
    const byChosen = slope / -Math.expm1(c) / chosen.logProbs.length - 1 / divisors.tokens;
    const byRejected = -slope / -Math.expm1(r) / rejected.logProbs.length;
    outcome.chosen.push(new Float64Array(chosen.logProbs.length).fill(byChosen));
    outcome.rejected.push(new Float64Array(rejected.logProbs.length).fill(byRejected));
    outcome.prompt.push(new Float64Array(prompt.length).fill(-1 / divisors.tokens));
  });
  outcome.loss += outcome.nll / divisors.tokens;
  return outcome;
}
