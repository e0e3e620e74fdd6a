/**
 * RLOO's loss (Ahmadian et al. 2024): a completion is one action. Its ratio is that of the whole completion's
 * probabilities, clipped as PPO's; the loss is the mean over the step's completions. The divergence from the
 * reference is part of the reward, not of the loss.
 */
import type { PolicyBatch, PolicyLoss } from './grpo.ts';
import { ClipCounts, type ClipRange, clippedSurrogate } from './policy_gradient.ts';
import { type Numbers, spans, sumOf } from './spans.ts';

/** Loss of a microbatch (its share of the step's) and its gradient; the advantage is that of the first token. */
export function rlooLoss(
  scores: { logProbs: Numbers; entropies: Numbers },
  batch: Pick<PolicyBatch, 'offsets' | 'oldLogProbs' | 'advantages'>,
  clip: ClipRange,
  completions: number,
): PolicyLoss {
  const { logProbs, entropies } = scores;
  const old = batch.oldLogProbs ?? logProbs;
  const gradients = new Float32Array(logProbs.length);
  const clips = new ClipCounts();
  let loss = 0;
  for (const [start, end] of spans(batch.offsets)) {
    const logRatio = sumOf(logProbs, start, end) - sumOf(old, start, end);
    const surrogate = clippedSurrogate(logRatio, batch.advantages[start]!, clip);
    clips.add([surrogate]);
    loss += surrogate.loss / completions;
    gradients.fill(surrogate.slope / completions, start, end);
  }
  return {
    loss,
    gradients: { logProbs: gradients },
    sums: { tokens: logProbs.length, entropy: sumOf(entropies), ...clips.sums() },
  };
}
