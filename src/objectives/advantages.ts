/**
 * Advantages: how much better than expected a completion, or one of its tokens, turned out.
 *
 * Rewards are one number a completion, those of a group (the k completions of one prompt) side by side, groups end
 * to end. A reward that is NaN was given by no scorer: it takes no part in means and deviations, and its advantage
 * is 0.
 */
import { meanAndVariance, type Numbers, type Offsets, spans } from './spans.ts';

/** Added to a standard deviation that is divided by, as TRL does. */
const DEVIATION_EPSILON = 1e-4;
/** Added to a variance whose root is divided by, in whitening. */
const VARIANCE_EPSILON = 1e-8;
/** Deviations up to this count as none. */
const ZERO_DEVIATION = 1e-8;

export const rewardScales = ['group', 'batch', 'none'] as const;
export type RewardScale = (typeof rewardScales)[number];

export interface GroupAdvantages {
  /** One a completion. */
  advantages: Float64Array;
  /** Share of the completions whose deviation (of the group, or of the batch where that scales) is 0. */
  zeroDeviation: number;
}

/**
 * GRPO's advantages (Shao et al. 2024): reward less the group's mean, over the group's deviation, the batch's (Liu
 * and others 2025), or nothing (Dr. GRPO).
 */
export function groupAdvantages(rewards: Numbers, groupSize: number, scale: RewardScale): GroupAdvantages {
  const advantages = new Float64Array(rewards.length);
  const batch = Math.sqrt(meanAndVariance(numbersIn(rewards, 0, rewards.length)).variance);
  let zero = 0;
  for (let start = 0; start < rewards.length; start += groupSize) {
    const { mean, variance } = meanAndVariance(numbersIn(rewards, start, start + groupSize));
    const deviation = scale === 'batch' ? batch : Math.sqrt(variance);
    if (deviation <= ZERO_DEVIATION) zero += groupSize;
    for (let i = start; i < start + groupSize; i++) {
      const centred = rewards[i]! - mean;
      if (Number.isNaN(centred)) continue;
      advantages[i] = scale === 'none' ? centred : centred / (deviation + DEVIATION_EPSILON);
    }
  }
  return { advantages, zeroDeviation: rewards.length === 0 ? 0 : zero / rewards.length };
}

/** Whether all rewards of a group are the same, so that it has nothing to teach. */
export function isUniform(rewards: Numbers): boolean {
  return Math.sqrt(meanAndVariance(numbersIn(rewards, 0, rewards.length)).variance) <= ZERO_DEVIATION;
}

/** RLOO's advantages (Ahmadian et al. 2024): reward less the mean of the others of its group. */
export function leaveOneOutAdvantages(rewards: Numbers, groupSize: number, normalize: boolean): Float64Array {
  const advantages = new Float64Array(rewards.length);
  for (let start = 0; start < rewards.length; start += groupSize) {
    const known = numbersIn(rewards, start, start + groupSize);
    if (known.length < 2) continue;
    const sum = known.reduce((total, reward) => total + reward, 0);
    for (let i = start; i < start + groupSize; i++) {
      if (!Number.isNaN(rewards[i]!)) advantages[i] = rewards[i]! - (sum - rewards[i]!) / (known.length - 1);
    }
  }
  if (!normalize) return advantages;
  const scored = (i: number) => !Number.isNaN(rewards[i]!);
  const { mean, variance } = meanAndVariance(advantages.filter((_, i) => scored(i)));
  const deviation = Math.sqrt(variance) + DEVIATION_EPSILON;
  return advantages.map((advantage, i) => (scored(i) ? (advantage - mean) / deviation : 0));
}

/**
 * REINFORCE++ (Hu et al. 2025): what is still to come behind a token, its return (undiscounted), normalised over all
 * tokens of the rollout.
 */
export function reinforceAdvantages(tokenRewards: Numbers, offsets: Offsets): Float64Array {
  const returns = new Float64Array(tokenRewards.length);
  for (const [start, end] of spans(offsets)) {
    let ahead = 0;
    for (let t = end - 1; t >= start; t--) {
      ahead += tokenRewards[t]!;
      returns[t] = ahead;
    }
  }
  return whiten(returns, true);
}

/** To variance 1, and with `shiftMean` to mean 0. */
export function whiten(values: Numbers, shiftMean: boolean): Float64Array {
  const { mean, variance } = meanAndVariance(values);
  const scale = 1 / Math.sqrt(variance + VARIANCE_EPSILON);
  return Float64Array.from(values, (value) => (value - mean) * scale + (shiftMean ? 0 : mean));
}

/**
 * Generalised advantage estimates (Schulman et al. 2016) of each token, and the returns that values are trained to:
 * delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lambda A_{t+1}, with V = 0 behind the last token.
 */
export function generalizedAdvantages(
  rewards: Numbers,
  values: Numbers,
  offsets: Offsets,
  { gamma, lam }: { gamma: number; lam: number },
): { advantages: Float64Array; returns: Float64Array } {
  const advantages = new Float64Array(rewards.length);
  const returns = new Float64Array(rewards.length);
  for (const [start, end] of spans(offsets)) {
    let nextValue = 0;
    let advantage = 0;
    for (let t = end - 1; t >= start; t--) {
      advantage = rewards[t]! + gamma * nextValue - values[t]! + gamma * lam * advantage;
      advantages[t] = advantage;
      returns[t] = advantage + values[t]!;
      nextValue = values[t]!;
    }
  }
  return { advantages, returns };
}

/**
 * The reward of each token: less `coefficient` times its estimated divergence from the reference, and the
 * completion's score on its last token. Completions have at least one token.
 */
export function tokenRewards(
  scores: Numbers,
  divergences: Numbers,
  offsets: Offsets,
  coefficient: number,
): Float64Array {
  const rewards = Float64Array.from(divergences, (divergence) => -coefficient * divergence);
  for (const [, end, s] of spans(offsets)) rewards[end - 1]! += scores[s]!;
  return rewards;
}

function numbersIn(values: Numbers, start: number, end: number): number[] {
  const numbers: number[] = [];
  for (let i = start; i < end; i++) if (!Number.isNaN(values[i]!)) numbers.push(values[i]!);
  return numbers;
}
