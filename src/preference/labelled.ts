/** Objectives over labelled answers: KTO and BCO. Metrics by TRL's names. */
import { type AnswerGroup, cutAnswers, scoredTokens } from '../data/preference.ts';
import { bco, bcoRewards } from '../objectives/bco.ts';
import { type KtoSettings, klEstimate, kto } from '../objectives/kto.ts';
import { sum } from '../objectives/numerics.ts';
import { sequenceLogProb } from '../objectives/preference.ts';
import { addEntropy, addLogits, type GroupScores, Means, type PreferenceObjective } from './objective.ts';

const own = ({ answers }: GroupScores) => answers[0]!;

function addLabelMetrics(
  means: Means,
  groups: readonly AnswerGroup[],
  scores: readonly GroupScores[],
  rewards: Float64Array,
): void {
  groups.forEach(({ desirable }, i) => {
    const side = desirable ? 'chosen' : 'rejected';
    means
      .add(`rewards/${side}`, [rewards[i]!])
      .add(`logps/${side}`, [sequenceLogProb(own(scores[i]!).logProbs)]);
    addLogits(means, side, own(scores[i]!));
  });
  addEntropy(means, scores);
}

/** The margin of answers that are no pairs: between the means of both kinds, where a step has both. */
function margins(metrics: Readonly<Record<string, number>>): Record<string, number> {
  const { 'rewards/chosen': chosen, 'rewards/rejected': rejected } = metrics;
  return chosen === undefined || rejected === undefined ? {} : { 'rewards/margins': chosen - rejected };
}

/**
 * Each row with an answer to another prompt, for KTO's estimate of the divergence: that of the last row before it (in
 * a circle) whose prompt is another; cut where it would not fit. A row among rows of its own prompt only has none.
 */
export function mismatchedGroups(
  groups: readonly AnswerGroup[],
  maxLength: number,
): Map<AnswerGroup, AnswerGroup> {
  const keys = groups.map(({ prompt }) => prompt.join());
  const result = new Map<AnswerGroup, AnswerGroup>();
  groups.forEach((group, i) => {
    for (let back = 1; back < groups.length; back++) {
      const other = (i - back + groups.length) % groups.length;
      if (keys[other] === keys[i]) continue;
      const { answers, scored } = groups[other]!;
      const { scored: _, ...rest } = group;
      const row = { ...rest, answers, ...(scored && { scored }) };
      cutAnswers(row, Math.max(1, maxLength - group.prompt.length));
      result.set(group, row);
      return;
    }
  });
  return result;
}

/** KTO; `mismatched` as `mismatchedGroups` gives it, for all rows. */
export function ktoObjective(
  settings: KtoSettings,
  mismatched: ReadonlyMap<AnswerGroup, AnswerGroup>,
): PreferenceObjective {
  return {
    outputs: 'tokens',
    reference: true,
    scorePrompt: false,
    tokens: (group) => scoredTokens(group, 0),
    ...(settings.lossType === 'kto'
      ? {
          shared: {
            group: (row: AnswerGroup) => mismatched.get(row),
            conclude: (scores: readonly GroupScores[]) => ({
              shared: { kl: klEstimate(scores.map(own)) },
              carry: {},
            }),
          },
        }
      : {}),
    derived: margins,
    evaluate(groups, scores, { divisors, shared }) {
      const answers = groups.map((group, i) => ({ ...own(scores[i]!), desirable: group.desirable === true }));
      const kl = shared.kl ?? 0;
      const outcome = kto(answers, kl, settings, divisors);
      const means = new Means();
      addLabelMetrics(
        means,
        groups,
        scores,
        outcome.logRatios.map((ratio) => settings.beta * ratio),
      );
      if (settings.lossType === 'kto')
        means.add(
          'kl',
          groups.map(() => kl),
        );
      return { loss: outcome.loss, gradients: outcome.gradients.map((g) => ({ answers: [g] })), means };
    },
  };
}

/**
 * BCO. `delta` is the mean of all rewards from the first step on, this one's included; `weights` are those of
 * the undesirable answers.
 */
export function bcoObjective(
  settings: { beta: number },
  weights: ReadonlyMap<AnswerGroup, number>,
): PreferenceObjective {
  return {
    outputs: 'tokens',
    reference: true,
    scorePrompt: false,
    tokens: (group) => scoredTokens(group, 0),
    shared: {
      group: (row) => row,
      conclude(scores, carried) {
        const rewards = bcoRewards(scores.map(own), settings.beta);
        const carry = {
          rewards: (carried.rewards ?? 0) + sum(rewards),
          count: (carried.count ?? 0) + rewards.length,
        };
        return { shared: { delta: carry.rewards / carry.count }, carry };
      },
    },
    derived: margins,
    evaluate(groups, scores, { divisors, shared }) {
      const answers = groups.map((group, i) => ({
        ...own(scores[i]!),
        desirable: group.desirable === true,
        weight: weights.get(group) ?? 1,
      }));
      const delta = shared.delta!;
      const outcome = bco(answers, delta, settings, divisors);
      const means = new Means();
      addLabelMetrics(
        means,
        groups,
        scores,
        outcome.logRatios.map((ratio) => settings.beta * ratio),
      );
      means.add(
        'delta',
        groups.map(() => delta),
      );
      return { loss: outcome.loss, gradients: outcome.gradients.map((g) => ({ answers: [g] })), means };
    },
  };
}
