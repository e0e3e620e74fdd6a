/**
 * An adapter merged into its base, and what that changes: the next-token distributions before and after at fixed
 * prompts. In exact arithmetic they are the same; what is told is what the rounding of the merged weights to float32
 * does.
 */
import type { Architecture, Session } from '../native/addon.ts';
import { probeBatch, probeModel } from './save.ts';

/** Differences of the merged model from base and adapter. */
export interface MergeReport {
  /** Positions compared. */
  positions: number;
  /** KL divergence of the merged model's distribution from that before, in nats; of a reward model: absent. */
  kl?: { mean: number; max: number };
  /** Share of positions at which the likeliest token is the same; of a reward model: absent. */
  topAgreement?: number;
  /** Largest difference of a score, of a reward model. */
  score?: number;
}

/** Merges adapter 0 of a session into its base. */
export async function mergeAndCompare(session: Session, architecture: Architecture): Promise<MergeReport> {
  if (architecture.scoreHead) {
    const before = await probeModel(session, architecture, 0);
    await session.mergeAdapter(0);
    const after = await probeModel(session, architecture);
    const differences = before.map((value, i) => Math.abs(after[i]! - value));
    return { positions: before.length, score: differences.reduce((a, b) => Math.max(a, b)) };
  }
  const batch = probeBatch(architecture);
  const before = await session.logits({ ...batch, adapter: 0 });
  await session.mergeAdapter(0);
  return compareLogits(before, await session.logits(batch), architecture.vocabSize);
}

/** Divergence and agreement of distributions given by their logits, [positions, vocabulary]. */
export function compareLogits(before: Float32Array, after: Float32Array, vocabSize: number): MergeReport {
  const positions = before.length / vocabSize;
  let sum = 0;
  let max = 0;
  let same = 0;
  for (let i = 0; i < positions; i++) {
    const p = before.subarray(i * vocabSize, (i + 1) * vocabSize);
    const q = after.subarray(i * vocabSize, (i + 1) * vocabSize);
    const kl = divergence(p, q);
    sum += kl;
    max = Math.max(max, kl);
    if (argmax(p) === argmax(q)) same += 1;
  }
  return { positions, kl: { mean: sum / positions, max }, topAgreement: same / positions };
}

/** KL(softmax(p) || softmax(q)) in nats, not below zero by rounding. */
function divergence(p: Float32Array, q: Float32Array): number {
  const logZp = logSumExp(p);
  const logZq = logSumExp(q);
  let kl = 0;
  p.forEach((logit, v) => {
    const logP = logit - logZp;
    kl += Math.exp(logP) * (logP - (q[v]! - logZq));
  });
  return Math.max(0, kl);
}

function logSumExp(logits: Float32Array): number {
  const highest = logits[argmax(logits)]!;
  return highest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0));
}

function argmax(values: Float32Array): number {
  return values.reduce((best, value, i) => (value > values[best]! ? i : best), 0);
}
