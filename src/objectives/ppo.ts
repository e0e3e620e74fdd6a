/**
 * PPO's losses (Schulman et al. 2017): the clipped surrogate of each sampled token and the clipped squared error of
 * its value, each a mean over the step's tokens; the values' with weight `vfCoef`. Less `entropyCoef` times the mean
 * entropy.
 *
 *   value loss = 1/2 max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2)
 */
import type { ScoreGradients } from '../native/addon.ts';
import { clippedSurrogate } from './policy_gradient.ts';
import type { Numbers } from './spans.ts';

export interface PpoOptions {
  cliprange: number;
  cliprangeValue: number;
  vfCoef: number;
  entropyCoef: number;
}

/** Sampled tokens of a microbatch, all of one length. */
export interface PpoBatch {
  oldLogProbs: Numbers;
  advantages: Numbers;
  oldValues: Numbers;
  returns: Numbers;
}

export interface PpoLoss {
  loss: number;
  gradients: ScoreGradients;
  sums: Record<string, number>;
}

/** The policy's share: loss of a microbatch whose step has `tokens` sampled tokens. */
export function ppoPolicyLoss(
  { logProbs, entropies }: { logProbs: Numbers; entropies: Numbers },
  { oldLogProbs, advantages }: Pick<PpoBatch, 'oldLogProbs' | 'advantages'>,
  { cliprange, entropyCoef }: Pick<PpoOptions, 'cliprange' | 'entropyCoef'>,
  tokens: number,
): PpoLoss {
  const gradient = new Float32Array(logProbs.length);
  const sums = {
    tokens: logProbs.length,
    policy: 0,
    entropy: 0,
    clipped: 0,
    approxkl: 0,
    ratio: 0,
    ratio2: 0,
  };
  for (let t = 0; t < logProbs.length; t++) {
    const logRatio = logProbs[t]! - oldLogProbs[t]!;
    const surrogate = clippedSurrogate(logRatio, advantages[t]!, { low: cliprange, high: cliprange });
    gradient[t] = surrogate.slope / tokens;
    sums.policy += surrogate.loss;
    sums.entropy += entropies[t]!;
    if (surrogate.low || surrogate.high) sums.clipped += 1;
    sums.approxkl += 0.5 * logRatio * logRatio;
    const ratio = Math.exp(logRatio);
    sums.ratio += ratio;
    sums.ratio2 += ratio * ratio;
  }
  const gradients: ScoreGradients = { logProbs: gradient };
  if (entropyCoef !== 0) {
    gradients.entropies = new Float32Array(logProbs.length).fill(-entropyCoef / tokens);
  }
  return { loss: (sums.policy - entropyCoef * sums.entropy) / tokens, gradients, sums };
}

/** The values' share, `vfCoef` included. */
export function ppoValueLoss(
  values: Numbers,
  { oldValues, returns }: Pick<PpoBatch, 'oldValues' | 'returns'>,
  { cliprangeValue, vfCoef }: Pick<PpoOptions, 'cliprangeValue' | 'vfCoef'>,
  tokens: number,
): PpoLoss {
  const gradient = new Float32Array(values.length);
  const sums = { value: 0, value_clipped: 0 };
  for (let t = 0; t < values.length; t++) {
    const value = values[t]!;
    const low = oldValues[t]! - cliprangeValue;
    const high = oldValues[t]! + cliprangeValue;
    const free = value - returns[t]!;
    const held = Math.min(Math.max(value, low), high) - returns[t]!;
    const clipped = held * held > free * free;
    sums.value += 0.5 * Math.max(free * free, held * held);
    if (clipped) sums.value_clipped += 1;
    // A value outside of its range has no slope where the clipped error is the greater.
    gradient[t] = clipped ? 0 : (vfCoef * free) / tokens;
  }
  return { loss: (vfCoef * sums.value) / tokens, gradients: { values: gradient }, sums };
}

/** TRL's metrics from the sums of a step's microbatches. */
export function ppoMetrics(sums: Readonly<Record<string, number>>): Record<string, number> {
  const tokens = Math.max(1, sums.tokens ?? 0);
  const mean = (name: string) => (sums[name] ?? 0) / tokens;
  return {
    'policy/approxkl_avg': mean('approxkl'),
    'policy/clipfrac_avg': mean('clipped'),
    'policy/entropy_avg': mean('entropy'),
    'loss/policy_avg': mean('policy'),
    'loss/value_avg': mean('value'),
    'val/clipfrac_avg': mean('value_clipped'),
    'val/ratio': mean('ratio'),
    'val/ratio_var': Math.max(0, mean('ratio2') - mean('ratio') ** 2),
  };
}
