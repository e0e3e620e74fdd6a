/**
 * Validation of reinforcement learning: what completions of held-out prompts earn, by the metrics of a rollout. They
 * are drawn as in training, from one seed at every validation: what changes from one to the next is the policy.
 */
import { DataRandom } from '../data/random.ts';
import { klEstimate } from '../objectives/kl.ts';
import { sumOf } from '../objectives/spans.ts';
import type { Validate } from '../training/work.ts';
import { RolloutMaker, type RolloutMakerOptions } from './make.ts';
import { rolloutMetrics } from './metrics.ts';
import { RolloutPlan } from './plan.ts';
import type { Prompt } from './prompts.ts';
import type { Rollout } from './rollout.ts';

/** Prompts in their order, up to the one with which they and their longest completions reach `maxTokens`. */
export function validationPrompts(
  prompts: readonly Prompt[],
  samples: number,
  completionLength: number,
  maxTokens: number,
): Prompt[] {
  const kept: Prompt[] = [];
  let tokens = 0;
  for (const prompt of prompts) {
    if (tokens >= maxTokens) break;
    kept.push(prompt);
    tokens += samples * (prompt.ids.length + completionLength);
  }
  return kept;
}

/** The validation on `prompts`, `samples` completions each; `training` is what the rollouts are made with. */
export function validateRollouts(
  training: RolloutMakerOptions,
  prompts: readonly Prompt[],
  samples: number,
  batchSize: number,
  klCoefficient: number,
): Validate {
  const { seed: recipe, measures, groupsAtOnce, groupSize } = training;
  const seed = new DataRandom('validation', recipe).seed();
  const maker = new RolloutMaker({
    ...training,
    prompts,
    order: { at: (position) => position },
    measures: { ...measures, values: undefined },
    seed,
    groups: prompts.length,
    groupSize: samples,
    groupsAtOnce: Math.max(1, Math.floor((groupsAtOnce * groupSize) / samples)),
    maxDraws: undefined,
    klController: undefined,
  });
  const plan = new RolloutPlan(0, prompts.length, samples, { passes: 1, batchSize, accumulation: 1, seed });
  return async (boundary) => {
    const rollout = await maker.make(0, { position: 0, klCoefficient }, plan, boundary);
    const { groups_thrown_away: _, ...metrics } = { ...rolloutMetrics(rollout), ...tokenMeans(rollout) };
    return Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`eval_${name}`, value]));
  };
}

/** Means over the sampled tokens: entropy, and the divergence from the reference (k3, as GRPO's `kl`). */
function tokenMeans({ entropies, oldLogProbs, referenceLogProbs }: Rollout): Record<string, number> {
  const tokens = entropies.length;
  const entropy = sumOf(entropies) / tokens;
  if (referenceLogProbs.length === 0) return { entropy };
  const divergences = Float64Array.from(oldLogProbs, (logProb, t) =>
    klEstimate('k3', logProb - referenceLogProbs[t]!),
  );
  return { entropy, kl: sumOf(divergences) / tokens };
}
