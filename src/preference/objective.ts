/**
 * How a preference stage's objective meets the rows of a microbatch: from groups (a prompt with its answers) and the
 * numbers of their tokens to a loss, its gradient, and sums for the metrics. The formulas are in src/objectives.
 */
import type { AnswerGroup } from '../data/preference.ts';
import type { AnswerScores, Divisors } from '../objectives/preference.ts';
import type { Sums } from '../training/work.ts';

/** Numbers of the tokens of an answer. */
export interface AnswerNumbers extends AnswerScores {
  /** Of the distribution that a token was scored in. */
  entropies: ArrayLike<number>;
  meanLogits: ArrayLike<number>;
  logSumSquares: ArrayLike<number>;
  /** 1 where the token is the most likely one. */
  hits: ArrayLike<number>;
}

/** Numbers of one group. */
export interface GroupScores {
  answers: AnswerNumbers[];
  /** Log-probabilities of the prompt's tokens but the first, where they are scored. */
  prompt: ArrayLike<number>;
  /** Values of the answers, where the model has a scalar head. */
  values: ArrayLike<number>;
}

/** Gradients of one group, with respect to what it was given. */
export interface GroupGradients {
  /** By answer; undefined: zeros. */
  answers: (ArrayLike<number> | undefined)[];
  prompt?: ArrayLike<number>;
  values?: ArrayLike<number>;
}

/** What holds for the whole step: counts, and numbers that its rows decide together (`kl`, `delta`). */
export interface StepFacts {
  divisors: Divisors;
  shared: Readonly<Record<string, number>>;
}

export interface PreferenceObjective {
  outputs: 'tokens' | 'values';
  /** It needs log-probabilities of a reference. */
  reference: boolean;
  scorePrompt: boolean;
  /** Scored rows have the teacher's tokens as targets, so many of them. Absent: the answer's token. */
  targets?: number;
  /** Logits are divided by it; absent: 1. */
  temperature?: number;
  /** What a group adds to the step's count of tokens. */
  tokens(group: AnswerGroup): number;
  evaluate(
    groups: readonly AnswerGroup[],
    scores: readonly GroupScores[],
    step: StepFacts,
  ): { loss: number; gradients: GroupGradients[]; means: Means };
  /** Metrics that follow from those of the step. Absent: none. */
  derived?(metrics: Readonly<Record<string, number>>): Record<string, number>;
  /**
   * Numbers that the rows of the whole step decide together, found before its first microbatch: which rows have to
   * be computed for them, and what follows from their numbers. Absent: none.
   */
  shared?: {
    /** What is to be computed for a row of the step; undefined: nothing. */
    group(row: AnswerGroup): AnswerGroup | undefined;
    /** `carried` is what the step before left. */
    conclude(scores: readonly GroupScores[], carried: Sums): { shared: Record<string, number>; carry: Sums };
  };
}

/** The metrics of a step or of the validation rows. */
export function metricsOf(objective: PreferenceObjective, sums: Sums): Record<string, number> {
  const metrics = meansOf(sums);
  return { ...metrics, ...objective.derived?.(metrics) };
}

/** Sums and counts by name: metrics as means over the step, however it is cut into microbatches. */
export class Means {
  readonly sums: Sums = {};

  /** Adds numbers whose mean is the metric `name`; `count` where one number stands for several. */
  add(name: string, values: Iterable<number>, count?: number): this {
    let total = 0;
    let length = 0;
    for (const value of values) {
      total += value;
      length += 1;
    }
    this.sums[name] = (this.sums[name] ?? 0) + total;
    this.sums[`${name}#`] = (this.sums[`${name}#`] ?? 0) + (count ?? length);
    return this;
  }
}

/** Means of what `Means` has added up; a name without a number has no metric. */
export function meansOf(sums: Sums): Record<string, number> {
  const metrics: Record<string, number> = {};
  for (const [name, value] of Object.entries(sums)) {
    const count = sums[`${name}#`];
    if (count !== undefined && count > 0) metrics[name] = value / count;
  }
  return metrics;
}

/** Entropy of the scored tokens of all answers. */
export function addEntropy(means: Means, scores: readonly GroupScores[]): void {
  for (const { answers } of scores) {
    for (const { entropies } of answers) means.add('entropy', Array.from(entropies));
  }
}

/** The mean logit of the tokens of an answer, as of the chosen or the rejected ones. */
export function addLogits(means: Means, side: 'chosen' | 'rejected', { meanLogits }: AnswerNumbers): void {
  means.add(`logits/${side}`, Array.from(meanLogits));
}
