/**
 * Rewards of a rollout's samples: what each scorer says, weighted and added, less a penalty where a completion was
 * cut. A scorer that says nothing about a sample (null) adds nothing to it; one about which none says anything has
 * no reward (NaN) and teaches nothing.
 */
import { AnnealError } from '../../proto/errors.ts';
import { meanAndVariance } from '../objectives/spans.ts';
import type { Response, Scorer } from '../rewards/scorer.ts';

/** A scorer with its weight in the sum. */
export interface WeightedScorer {
  scorer: Scorer;
  weight: number;
}

/** What the scorers say, [responses * scorers], NaN for null. */
export async function scoreResponses(
  scorers: readonly WeightedScorer[],
  responses: readonly Response[],
): Promise<Float64Array> {
  const rewards = new Float64Array(responses.length * scorers.length).fill(Number.NaN);
  for (const [f, { scorer }] of scorers.entries()) {
    const numbers = await scorer.score(responses);
    if (numbers.length !== responses.length) {
      throw badReward(scorer.name, `gave ${numbers.length} numbers for ${responses.length} responses`);
    }
    numbers.forEach((number, i) => {
      if (number === null) return;
      if (!Number.isFinite(number)) {
        throw badReward(scorer.name, `gave ${number} for the response ${JSON.stringify(responses[i]!.text)}`);
      }
      rewards[i * scorers.length + f] = number;
    });
  }
  return rewards;
}

/** Weighted sums by sample. */
export function mixRewards(
  scorers: readonly Pick<WeightedScorer, 'weight'>[],
  rewards: Float64Array,
  stopped: Uint8Array,
  missingEosPenalty: number,
): Float64Array {
  const count = scorers.length;
  return Float64Array.from({ length: stopped.length }, (_, i) => {
    let sum = Number.NaN;
    scorers.forEach(({ weight }, f) => {
      const reward = rewards[i * count + f]!;
      if (!Number.isNaN(reward)) sum = (Number.isNaN(sum) ? 0 : sum) + weight * reward;
    });
    return stopped[i] ? sum : sum - missingEosPenalty;
  });
}

/** TRL's metrics of rewards: of each scorer, and of their sum. */
export function rewardMetrics(
  names: readonly string[],
  rewards: Float64Array,
  scores: Float64Array,
): Record<string, number> {
  const metrics: Record<string, number> = {};
  names.forEach((name, f) => {
    const own = rewards.filter((reward, i) => i % names.length === f && !Number.isNaN(reward));
    const { mean, variance } = meanAndVariance(own);
    metrics[`rewards/${name}/mean`] = mean;
    metrics[`rewards/${name}/std`] = Math.sqrt(variance);
  });
  const { mean, variance } = meanAndVariance(scores.filter((score) => !Number.isNaN(score)));
  return { ...metrics, reward: mean, reward_std: Math.sqrt(variance) };
}

function badReward(name: string, what: string): AnnealError {
  return new AnnealError('reward_invalid', `The reward ${name} ${what}.`, {
    path: `rewards.${name}`,
    hint: 'A reward is a finite number for each response, or null where it says nothing about one.',
  });
}
