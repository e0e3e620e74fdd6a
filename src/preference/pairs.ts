/** Objectives over pairs: DPO and its loss types, ORPO, CPO and SimPO. Metrics by TRL's names. */
import { type AnswerGroup, scoredTokens } from '../data/preference.ts';
import { type CpoSettings, cpo } from '../objectives/cpo.ts';
import { type DpoSettings, dpo } from '../objectives/dpo/dpo.ts';
import { logSigmoid } from '../objectives/numerics.ts';
import { orpo } from '../objectives/orpo.ts';
import type { Divisors, PairOutcome, PairScores } from '../objectives/preference.ts';
import {
  addEntropy,
  addLogits,
  type GroupGradients,
  type GroupScores,
  Means,
  type PreferenceObjective,
} from './objective.ts';

/** What an objective over pairs is, beside what all of them have. */
interface PairTask<Outcome extends PairOutcome> {
  reference: boolean;
  /** Whether the prompt's tokens are scored too. Absent: no. */
  scorePrompt?: boolean;
  outcome(pairs: readonly (PairScores & { prompt: ArrayLike<number> })[], divisors: Divisors): Outcome;
  /** Adds metrics of its own; `tokens` are those that a loss per token is divided by. Absent: none. */
  addMetrics?(means: Means, outcome: Outcome, tokens: number): void;
  /** Gradients of the prompts, where they have any. */
  prompt?(outcome: Outcome): readonly ArrayLike<number>[];
}

/** DPO with its loss types. */
export function dpoObjective(settings: DpoSettings): PreferenceObjective {
  return pairObjective({
    reference: true,
    outcome: (pairs, divisors) => dpo(pairs, settings, divisors),
  });
}

/** CPO and SimPO. */
export function cpoObjective(settings: CpoSettings): PreferenceObjective {
  return pairObjective({
    reference: false,
    outcome: (pairs, divisors) => cpo(pairs, settings, divisors),
    addMetrics: (means, outcome, tokens) => addLikelihood(means, outcome, tokens),
  });
}

/** ORPO. */
export function orpoObjective(settings: { beta: number }): PreferenceObjective {
  return pairObjective({
    reference: false,
    scorePrompt: true,
    outcome: (pairs, divisors) => orpo(pairs, settings, divisors),
    addMetrics(means, outcome, tokens) {
      addLikelihood(means, outcome, tokens);
      means.add('log_odds_chosen', outcome.logOdds).add('log_odds_ratio', outcome.logOdds.map(logSigmoid));
    },
    prompt: (outcome) => outcome.prompt,
  });
}

function addLikelihood(means: Means, { nll }: { nll: number }, tokens: number): void {
  means.add('nll_loss', [nll], tokens);
}

function pairObjective<Outcome extends PairOutcome>(task: PairTask<Outcome>): PreferenceObjective {
  const scorePrompt = task.scorePrompt ?? false;
  const tokens = (group: AnswerGroup) => scoredTokens(group, 0) + (scorePrompt ? group.prompt.length - 1 : 0);
  return {
    outputs: 'tokens',
    reference: task.reference,
    scorePrompt,
    tokens,
    evaluate(groups, scores, { divisors }) {
      const pairs = scores.map(({ answers, prompt }) => ({
        chosen: answers[0]!,
        rejected: answers[1]!,
        prompt,
      }));
      const outcome = task.outcome(pairs, divisors);
      const means = pairMeans(scores, outcome);
      task.addMetrics?.(
        means,
        outcome,
        groups.reduce((sum, group) => sum + tokens(group), 0),
      );
      const prompt = task.prompt?.(outcome);
      const gradients = outcome.chosen.map(
        (chosen, i): GroupGradients => ({
          answers: [chosen, outcome.rejected[i]],
          ...(prompt ? { prompt: prompt[i]! } : {}),
        }),
      );
      return { loss: outcome.loss, gradients, means };
    },
  };
}

/** The metrics that all objectives over pairs have. */
function pairMeans(scores: readonly GroupScores[], outcome: PairOutcome): Means {
  const { chosenRewards: chosen, rejectedRewards: rejected } = outcome;
  const means = new Means()
    .add('rewards/chosen', chosen)
    .add('rewards/rejected', rejected)
    .add(
      'rewards/accuracies',
      chosen.map((reward, i) => (reward > rejected[i]! ? 1 : 0)),
    )
    .add(
      'rewards/margins',
      chosen.map((reward, i) => reward - rejected[i]!),
    )
    .add('logps/chosen', outcome.chosenLogps)
    .add('logps/rejected', outcome.rejectedLogps);
  for (const { answers } of scores) {
    addLogits(means, 'chosen', answers[0]!);
    addLogits(means, 'rejected', answers[1]!);
    means.add('mean_token_accuracy', Array.from(answers[0]!.hits));
  }
  addEntropy(means, scores);
  return means;
}
