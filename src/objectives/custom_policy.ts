/**
 * A policy loss of the user's own: an ES module named as `loss_type` of `grpo`. Its default export is a function
 *
 *     (tokens, settings) => ({ losses, gradient })
 *
 * `tokens` has Float64Arrays with an entry a sampled token: logProbs, oldLogProbs (under the policy that drew them),
 * referenceLogProbs (empty without a reference), entropies, advantages; and `offsets`, where each completion begins
 * and the last ends. `settings` has epsilon, epsilonHigh and beta. It returns two arrays with an entry a token: the
 * loss (its mean over the step's tokens is trained on), and its gradient with respect to logProbs.
 */
import type { PolicyBatch, PolicyLoss } from './grpo.ts';
import { type Numbers, sumOf } from './spans.ts';
import { loadUserFunction } from './user_module.ts';

const HINT = 'Its default export is (tokens, settings) => ({ losses, gradient }); see docs/reinforcement.md.';

export interface CustomPolicySettings {
  epsilon: number;
  epsilonHigh: number;
  beta: number;
}

export type CustomPolicyLoss = (
  scores: { logProbs: Numbers; entropies: Numbers },
  batch: PolicyBatch,
  settings: CustomPolicySettings,
  tokens: number,
) => PolicyLoss;

/** Loads the loss of a file; `place` is where the recipe names it. */
export async function loadPolicyLoss(file: string, place: string): Promise<CustomPolicyLoss> {
  const own = await loadUserFunction(file, place, HINT);
  return ({ logProbs, entropies }, batch, settings, tokens) => {
    // Arrays of its own: a function that writes into them changes nothing here.
    const given = {
      logProbs: Float64Array.from(logProbs),
      oldLogProbs: Float64Array.from(batch.oldLogProbs ?? logProbs),
      referenceLogProbs: Float64Array.from(batch.referenceLogProbs ?? []),
      entropies: Float64Array.from(entropies),
      advantages: Float64Array.from(batch.advantages),
      offsets: Array.from(batch.offsets),
    };
    const { losses, gradient } = own.call(
      [given, { ...settings }],
      ['losses', 'gradient'],
      logProbs.length,
      'tokens',
    );
    return {
      loss: sumOf(losses) / tokens,
      gradients: { logProbs: Float32Array.from(gradient, (slope) => slope / tokens) },
      sums: { tokens: logProbs.length, entropy: sumOf(entropies) },
    };
  };
}
