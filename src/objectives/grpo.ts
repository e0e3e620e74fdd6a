/**
 * GRPO's loss and its relatives: the clipped surrogate of each sampled token, plus `beta` times the k3 estimate of the
 * divergence from the reference, summed over tokens with these weights:
 *   grpo     1 / (length of the completion * completions)          Shao et al. 2024
 *   bnpo     1 / tokens of the step                                all tokens alike
 *   dr_grpo  1 / (completions * longest completion allowed)        Liu et al. 2025
 *   dapo     1 / (tokens of the rollout / its steps)               Yu et al. 2025
 * Completions are all of the step, masked ones too; tokens are those of the completions that are not masked. With
 * `importance_sampling_level: sequence` (GSPO, Zheng et al. 2025) a completion has one ratio: the geometric mean of
 * its tokens' ratios.
 *
 * Less `entropyCoef` times the mean entropy of the step's tokens.
 */
import type { ScoreGradients } from '../native/addon.ts';
import { klEstimate, klSlope } from './kl.ts';
import { ClipCounts, type ClipRange, clipMetrics, clippedSurrogate } from './policy_gradient.ts';
import { type Numbers, type Offsets, spans } from './spans.ts';

export const grpoLossTypes = ['grpo', 'bnpo', 'dr_grpo', 'dapo'] as const;
export type GrpoLossType = (typeof grpoLossTypes)[number];
export const importanceLevels = ['token', 'sequence'] as const;
export type ImportanceLevel = (typeof importanceLevels)[number];

export interface GrpoOptions {
  lossType: GrpoLossType;
  level: ImportanceLevel;
  clip: ClipRange;
  /** Weight of the divergence; 0: none, and no reference is needed. */
  beta: number;
  entropyCoef: number;
}

/** What is counted over the whole optimiser step; see the formulas above. */
export interface GrpoStep {
  /** Completions, masked ones included. */
  completions: number;
  /** Tokens of those that are not masked. */
  tokens: number;
  /** Tokens of the rollout that are not masked, over the optimiser steps of one pass through it. */
  tokensPerStep: number;
  /** Longest completion that may be drawn. */
  maxCompletionLength: number;
}

/** A microbatch of sampled tokens. */
export interface PolicyBatch {
  offsets: Offsets;
  /** Log-probabilities under the policy that drew the tokens; undefined: the policy is that one (first pass). */
  oldLogProbs: Numbers | undefined;
  /** Under the reference; needed with beta. */
  referenceLogProbs: Numbers | undefined;
  /** One a token. */
  advantages: Numbers;
}

export interface PolicyLoss {
  loss: number;
  gradients: ScoreGradients;
  /** For `grpoMetrics`. */
  sums: Record<string, number>;
}

/** Loss of a microbatch (its share of the step's) and its gradient. */
export function grpoLoss(
  scores: { logProbs: Numbers; entropies: Numbers },
  batch: PolicyBatch,
  options: GrpoOptions,
  step: GrpoStep,
): PolicyLoss {
  const { logProbs, entropies } = scores;
  const { offsets, advantages, referenceLogProbs } = batch;
  const old = batch.oldLogProbs ?? logProbs;
  const { beta, entropyCoef } = options;
  const slopes = new Float64Array(logProbs.length);
  const clips = new ClipCounts();
  const divisor = stepDivisor(options.lossType, step);
  let loss = 0;
  let kl = 0;
  let entropy = 0;
  for (const [start, end] of spans(offsets)) {
    const weight = 1 / (options.lossType === 'grpo' ? divisor * Math.max(1, end - start) : divisor);
    loss += weight * surrogates(start, end, { options, clips, logProbs, old, advantages, slopes, weight });
    for (let t = start; t < end; t++) {
      entropy += entropies[t]!;
      if (beta === 0) continue;
      const d = logProbs[t]! - referenceLogProbs![t]!;
      const divergence = klEstimate('k3', d);
      kl += divergence;
      loss += weight * beta * divergence;
      slopes[t]! += weight * beta * klSlope('k3', d);
    }
  }
  const tokens = logProbs.length;
  const entropyWeight = entropyCoef / Math.max(1, step.tokens);
  return {
    loss: loss - entropyWeight * entropy,
    gradients: {
      logProbs: Float32Array.from(slopes),
      ...(entropyCoef === 0 ? {} : { entropies: new Float32Array(tokens).fill(-entropyWeight) }),
    },
    sums: { tokens, entropy, ...(beta === 0 ? {} : { kl }), ...clips.sums() },
  };
}

/** TRL's metrics from the sums of a step's microbatches. */
export function grpoMetrics(sums: Readonly<Record<string, number>>): Record<string, number> {
  const tokens = Math.max(1, sums.tokens ?? 0);
  return {
    entropy: (sums.entropy ?? 0) / tokens,
    ...(sums.kl === undefined ? {} : { kl: sums.kl / tokens }),
    ...clipMetrics(sums),
  };
}

/** What a token's loss is divided by; with `grpo` by its completion's length besides. */
function stepDivisor(lossType: GrpoLossType, step: GrpoStep): number {
  const divisors = {
    grpo: step.completions,
    bnpo: step.tokens,
    dr_grpo: step.completions * step.maxCompletionLength,
    dapo: step.tokensPerStep,
  };
  return Math.max(1, divisors[lossType]);
}

/** Sum of the surrogates of one completion's tokens; their slopes are added with `weight`. */
function surrogates(
  start: number,
  end: number,
  of: {
    options: GrpoOptions;
    clips: ClipCounts;
    logProbs: Numbers;
    old: Numbers;
    advantages: Numbers;
    slopes: Float64Array;
    weight: number;
  },
): number {
  const { options, clips, logProbs, old, advantages, slopes, weight } = of;
  let mean = 0;
  for (let t = start; t < end; t++) mean += (logProbs[t]! - old[t]!) / (end - start);
  const bySequence = options.level === 'sequence';
  const all = Array.from({ length: end - start }, (_, i) => {
    const t = start + i;
    return clippedSurrogate(bySequence ? mean : logProbs[t]! - old[t]!, advantages[t]!, options.clip);
  });
  clips.add(bySequence ? all.slice(0, 1) : all);
  const shared = bySequence ? all.reduce((sum, { slope }) => sum + slope, 0) / Math.max(1, end - start) : 0;
  let loss = 0;
  all.forEach((each, i) => {
    loss += each.loss;
    slopes[start + i]! += weight * (bySequence ? shared : each.slope);
  });
  return loss;
}
