/** Random numbers that objectives are tried on, from a seed. Logs of probabilities are such as a trained model has. */
import { DataRandom } from '../../src/data/random.ts';

/** Tokens of the answers: pairs of unequal and of equal length, and one of a single token. */
export const CHOSEN_LENGTHS = [4, 7, 1, 5, 6];
export const REJECTED_LENGTHS = [6, 3, 2, 5, 9];
export const PROMPT_LENGTHS = [2, 3, 1, 4, 2];

export const random = new DataRandom('objectives');
export const uniform = (low: number, high: number) =>
  low + ((high - low) * random.below(1 << 24)) / (1 << 24);
const answer = (length: number): number[] => Array.from({ length }, () => uniform(-2.5, -0.05));
const near = (logProbs: number[]): number[] => logProbs.map((x) => Math.min(-0.01, x + uniform(-0.6, 0.6)));

export const chosen = CHOSEN_LENGTHS.map(answer);
export const rejected = REJECTED_LENGTHS.map(answer);
const mismatched = CHOSEN_LENGTHS.map(answer);
const prompts = PROMPT_LENGTHS.map(answer);

/** A number for each token of the answers, the chosen ones first. */
const ofAnswers = (number: () => number): number[][] =>
  [...CHOSEN_LENGTHS, ...REJECTED_LENGTHS].map((length) => Array.from({ length }, number));

/** What every case on answers is given; Python gets the same. */
export const NUMBERS = {
  chosen,
  rejected,
  prompts,
  ref_chosen: chosen.map(near),
  ref_rejected: rejected.map(near),
  mismatched,
  ref_mismatched: mismatched.map(near),
  entropies: ofAnswers(() => uniform(0.1, 3)),
  mean_logits: ofAnswers(() => uniform(-3, 1)),
  log_sum_squares: ofAnswers(() => uniform(-2, -0.01)),
  hits: ofAnswers(() => random.below(2)),
};
