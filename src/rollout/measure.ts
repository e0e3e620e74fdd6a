/**
 * What is measured of drawn completions before training: their log-probabilities under the policy as the trainer
 * computes them, under the reference, and the values of their states. The batches are those of the first pass of
 * training, so that a first step's ratio to the old policy is exactly one.
 */
import type { Batch, Scores } from '../native/addon.ts';
import type { Critic } from './critic.ts';
import { packSamples } from './pack.ts';
import { gather, groupOf, type Rollout, sampleIds, scatter } from './rollout.ts';

/** Anything with a forward pass: a session, a reference. */
export interface Forward {
  forward(batch: Batch): Promise<Scores>;
}

/** The models that measure, and how. */
export interface Measures {
  policy: Forward;
  /** undefined: no reference. */
  reference: Forward | undefined;
  /** Where values come from; absent: there are none. `head`: the policy's pass gives them too. */
  values?: 'head' | Critic | undefined;
  /** Fields of every batch: the adapter of the policy, the temperature. */
  policyFields: Pick<Batch, 'adapter' | 'temperature'>;
}

export type Drawn = Pick<Rollout, 'ids' | 'offsets' | 'groupSize' | 'sampledLogProbs'>;
export type Measured = Pick<Rollout, 'oldLogProbs' | 'entropies' | 'referenceLogProbs' | 'values'>;

/** Samples of a rollout as a batch; `promptOf` gives the ids of a group's prompt. */
export function sampleBatch(
  rollout: Pick<Rollout, 'ids' | 'offsets' | 'groupSize'>,
  samples: readonly number[],
  promptOf: (group: number) => Int32Array,
): Batch {
  return packSamples(
    samples.map((sample) => {
      const group = groupOf(rollout, sample);
      return { group, prompt: promptOf(group), ids: sampleIds(rollout, sample) };
    }),
  );
}

/**
 * Measures all samples, microbatch by microbatch; `boundary` is called between them. The policy's pass over the first
 * microbatch comes last: training begins with the same pass, which the session then has at hand.
 */
export async function measure(
  measures: Measures,
  rollout: Drawn,
  microbatches: readonly (readonly number[])[],
  promptOf: (group: number) => Int32Array,
  boundary: () => Promise<void>,
): Promise<Measured> {
  const { policy, reference, values, policyFields } = measures;
  const tokens = rollout.ids.length;
  const measured: Measured = {
    oldLogProbs: new Float32Array(tokens),
    entropies: new Float32Array(tokens),
    referenceLogProbs: new Float32Array(reference ? tokens : 0),
    values: new Float32Array(values ? tokens : 0),
  };
  for (const samples of microbatches.toReversed()) {
    await boundary();
    const batch = sampleBatch(rollout, samples, promptOf);
    if (reference) {
      const { temperature } = policyFields;
      const other = await reference.forward(temperature === undefined ? batch : { ...batch, temperature });
      scatter(measured.referenceLogProbs, other.logProbs, rollout, samples);
    }
    if (values && values !== 'head') {
      scatter(measured.values, (await criticPass(values, batch)).values, rollout, samples);
    }
    const outputs = values === 'head' ? 'both' : 'tokens';
    const own = await policy.forward({ ...batch, ...policyFields, outputs });
    scatter(measured.oldLogProbs, own.logProbs, rollout, samples);
    scatter(measured.entropies, own.entropies, rollout, samples);
    if (values === 'head') scatter(measured.values, own.values, rollout, samples);
  }
  return measured;
}

/** The critic's values at the scored rows of a batch. */
export function criticPass({ session, fields }: Critic, batch: Batch): Promise<Scores> {
  return session.forward({ ...batch, ...fields, outputs: 'values' });
}

/** TRL's metrics of how far the sampler's log-probabilities are from the trainer's for the same weights. */
export function samplingMetrics(
  rollout: Pick<Rollout, 'sampledLogProbs' | 'oldLogProbs' | 'offsets'>,
  samples: readonly number[],
): Record<string, number> {
  const sampled = gather(rollout.sampledLogProbs, rollout, samples);
  const old = gather(rollout.oldLogProbs, rollout, samples);
  let sum = 0;
  let max = 0;
  let ratioSum = 0;
  let least = Infinity;
  let greatest = 0;
  for (let t = 0; t < old.length; t++) {
    const difference = old[t]! - sampled[t]!;
    sum += Math.abs(difference);
    max = Math.max(max, Math.abs(difference));
    const ratio = Math.exp(difference);
    ratioSum += ratio;
    least = Math.min(least, ratio);
    greatest = Math.max(greatest, ratio);
  }
  return {
    'sampling/sampling_logp_difference/mean': sum / old.length,
    'sampling/sampling_logp_difference/max': max,
    'sampling/importance_sampling_ratio/min': least,
    'sampling/importance_sampling_ratio/mean': ratioSum / old.length,
    'sampling/importance_sampling_ratio/max': greatest,
  };
}
