/** The objective of reward models over ranked answers. Metrics by TRL's names. */
import { rankedPairs, rankingLoss } from '../objectives/reward.ts';
import { Means, type PreferenceObjective } from './objective.ts';

/** Bradley-Terry for pairs, Plackett-Luce for longer rankings. */
export function rewardObjective(settings: { centerRewardsCoefficient: number }): PreferenceObjective {
  return {
    outputs: 'values',
    reference: false,
    scorePrompt: false,
    tokens: () => 0,
    evaluate(groups, scores, { divisors }) {
      const rankings = groups.map(({ ranking, margin }, i) => ({
        ranking,
        margin,
        values: scores[i]!.values,
      }));
      const { loss, gradients } = rankingLoss(rankings, settings, divisors);
      const means = new Means();
      for (const { ranking, values } of rankings) {
        const margins = rankedPairs(ranking).map(([better, worse]) => values[better]! - values[worse]!);
        means
          .add('mean_reward', Array.from(values))
          .add(
            'accuracy',
            margins.map((margin) => (margin > 0 ? 1 : 0)),
          )
          .add('margin', margins);
      }
      // Of each microbatch, as TRL has them.
      const all = rankings.flatMap(({ values }) => Array.from(values));
      means.add('min_reward', [Math.min(...all)]).add('max_reward', [Math.max(...all)]);
      return { loss, gradients: gradients.map((values) => ({ answers: [], values })), means };
    },
  };
}
