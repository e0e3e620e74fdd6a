/** Objectives over pairs: DPO and its loss types, ORPO, CPO and SimPO. Metrics by TRL's names. */
import type { AnswerGroup } from '../data/preference.ts';
import { type CpoSettings, cpo } from '../objectives/cpo.ts';
import { type DpoSettings, dpo } from '../objectives/dpo/dpo.ts';
import { logSigmoid } from '../objectives/numerics.ts';
import { orpo } from '../objectives/orpo.ts';
import type { PairScores } from '../objectives/preference.ts';
import { addEntropy, type GroupScores, Means, type PreferenceObjective } from './objective.ts';

function pairOf({ answers }: GroupScores): PairScores {
  return { chosen: answers[0]!, rejected: answers[1]! };
}

function addPairMetrics(
  means: Means,
  scores: readonly GroupScores[],
  rewards: { chosen: Float64Array; rejected: Float64Array },
  logps: { chosen: Float64Array; rejected: Float64Array },
): void {
  const { chosen, rejected } = rewards;
  means
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
    .add('logps/chosen', logps.chosen)
    .add('logps/rejected', logps.rejected);
  addEntropy(means, scores);
}

const chosenTokens = ({ answers }: AnswerGroup) => answers[0]!.length;

/** DPO with its loss types. */
export function dpoObjective(settings: DpoSettings): PreferenceObjective {
  return {
    outputs: 'tokens',
    reference: true,
    scorePrompt: false,
    tokens: chosenTokens,
    evaluate(_, scores, { divisors }) {
      const outcome = dpo(scores.map(pairOf), settings, divisors);
      const means = new Means();
      addPairMetrics(
        means,
        scores,
        { chosen: outcome.chosenRewards, rejected: outcome.rejectedRewards },
        { chosen: outcome.chosenLogps, rejected: outcome.rejectedLogps },
      );
      const gradients = outcome.chosen.map((chosen, i) => ({ answers: [chosen, outcome.rejected[i]] }));
      return { loss: outcome.loss, gradients, means };
    },
  };
}

/** CPO and SimPO. */
export function cpoObjective(settings: CpoSettings): PreferenceObjective {
  return {
    outputs: 'tokens',
    reference: false,
    scorePrompt: false,
    tokens: chosenTokens,
    evaluate(groups, scores, { divisors }) {
      const outcome = cpo(scores.map(pairOf), settings, divisors);
      const means = new Means();
      addPairMetrics(
        means,
        scores,
        { chosen: outcome.chosenRewards, rejected: outcome.rejectedRewards },
        { chosen: outcome.chosenLogps, rejected: outcome.rejectedLogps },
      );
      means.add(
        'nll_loss',
        [outcome.nll],
        groups.reduce((sum, group) => sum + chosenTokens(group), 0),
      );
      const gradients = outcome.chosen.map((chosen, i) => ({ answers: [chosen, outcome.rejected[i]] }));
      return { loss: outcome.loss, gradients, means };
    },
  };
}

/** ORPO. */
export function orpoObjective(settings: { beta: number }): PreferenceObjective {
  const tokens = (group: AnswerGroup) => group.prompt.length - 1 + chosenTokens(group);
  return {
    outputs: 'tokens',
    reference: false,
    scorePrompt: true,
    tokens,
    evaluate(groups, scores, { divisors }) {
      const pairs = scores.map((group) => ({ ...pairOf(group), prompt: group.prompt }));
      const outcome = orpo(pairs, settings, divisors);
      const { chosenLogps: chosen, rejectedLogps: rejected, logOdds } = outcome;
      const means = new Means();
      const reward = (logp: number) => settings.beta * logp;
      addPairMetrics(
        means,
        scores,
        { chosen: chosen.map(reward), rejected: rejected.map(reward) },
        { chosen, rejected },
      );
      means
        .add(
          'nll_loss',
          [outcome.nll],
          groups.reduce((sum, group) => sum + tokens(group), 0),
        )
        .add('log_odds_chosen', logOdds)
        .add('log_odds_ratio', logOdds.map(logSigmoid));
      const gradients = outcome.chosen.map((own, i) => ({
        answers: [own, outcome.rejected[i]],
        prompt: outcome.prompt[i]!,
      }));
      return { loss: outcome.loss, gradients, means };
    },
  };
}
