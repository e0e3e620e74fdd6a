/**
 * One microbatch cut and packed in other ways that must give the same gradient: pure functions of a pass. A *tree* is
 * a sequence without a prefix and all that go on from it: it stays together unless prefixes are laid out.
 */
import type { Batch, ScoreGradients } from '../native/addon.ts';

/** A pass through the engine that adds to the gradients: with weights in one call, else forward and then backward. */
export type Pass = { batch: Batch } & ({ weights: Float32Array } | { gradients: ScoreGradients });

/** The same sequences, the trees in the opposite order. */
export function reversed(pass: Pass): Pass[] {
  return [lay(pass, trees(pass.batch).reverse().flatMap(sharing))];
}

/** At most `parts` microbatches of whole trees. */
export function accumulated(pass: Pass, parts: number): Pass[] {
  const all = trees(pass.batch);
  const size = Math.ceil(all.length / parts);
  const groups = Array.from({ length: Math.ceil(all.length / size) }, (_, i) =>
    all.slice(i * size, (i + 1) * size),
  );
  return groups.map((group) => lay(pass, group.flatMap(sharing)));
}

/** Every sequence after a copy of all that it attends to, in microbatches of at most `maxTokens` tokens. */
export function unshared(pass: Pass, maxTokens: number): Pass[] {
  const { cuSeqlens, prefix } = pass.batch;
  const owned = new Set<number>();
  const lengthOf = (place: Place) =>
    place.chain.reduce((sum, s) => sum + cuSeqlens[s + 1]! - cuSeqlens[s]!, 0);
  const groups: Place[][] = [[]];
  let tokens = 0;
  for (const leaf of leaves(pass.batch)) {
    const chain = [leaf];
    for (let s = prefix?.[leaf] ?? -1; s >= 0; s = prefix?.[s] ?? -1) chain.unshift(s);
    // What a shared part scores is scored once, in the first sequence that goes on from it.
    const owns = chain.filter((s) => !owned.has(s));
    for (const s of owns) owned.add(s);
    const place: Place = { chain, owns, prefix: -1 };
    if (tokens + lengthOf(place) > maxTokens && tokens > 0) {
      groups.push([]);
      tokens = 0;
    }
    groups.at(-1)!.push(place);
    tokens += lengthOf(place);
  }
  return groups.map((group) => lay(pass, group));
}

/** Whether a sequence of the pass goes on from another. */
export function sharesPrefixes({ batch }: Pass): boolean {
  return batch.prefix?.some((s) => s >= 0) ?? false;
}

/** A pass of one call as forward and backward: the loss is -sum(weights * logProbs). */
export function inTwoCalls(pass: Pass): Pass {
  if (!('weights' in pass)) return pass;
  return { batch: pass.batch, gradients: { logProbs: pass.weights.map((weight) => -weight) } };
}

/** A sequence of the new batch. */
interface Place {
  /** Sequences of the old batch whose tokens it has, end to end. */
  chain: number[];
  /** Those of them whose scored rows it takes over. */
  owns: number[];
  /** Sequence of the old batch that it goes on from, or -1. */
  prefix: number;
}

/** The sequences of a tree as they were. */
function sharing(tree: { sequence: number; prefix: number }[]): Place[] {
  return tree.map(({ sequence, prefix }) => ({ chain: [sequence], owns: [sequence], prefix }));
}

function trees(batch: Batch): { sequence: number; prefix: number }[][] {
  const found: { sequence: number; prefix: number }[][] = [];
  const treeOf: number[] = [];
  for (let sequence = 0; sequence < batch.cuSeqlens.length - 1; sequence++) {
    const prefix = batch.prefix?.[sequence] ?? -1;
    const tree = prefix < 0 ? found.length : treeOf[prefix]!;
    treeOf.push(tree);
    found[tree] ??= [];
    found[tree].push({ sequence, prefix });
  }
  return found;
}

/** Sequences that no other goes on from. */
function leaves(batch: Batch): number[] {
  const inner = new Set(batch.prefix ?? []);
  return Array.from({ length: batch.cuSeqlens.length - 1 }, (_, s) => s).filter((s) => !inner.has(s));
}

function lay(pass: Pass, places: Place[]): Pass {
  const { batch } = pass;
  const tokens: number[] = [];
  const ends = [0];
  const placeOf = new Map<number, number>();
  /** Row of the new batch by row of the old. */
  const rows = new Map<number, number>();
  for (const [index, { chain, owns }] of places.entries()) {
    placeOf.set(chain.at(-1)!, index);
    for (const sequence of chain) {
      for (let row = batch.cuSeqlens[sequence]!; row < batch.cuSeqlens[sequence + 1]!; row++) {
        if (owns.includes(sequence)) rows.set(row, tokens.length);
        tokens.push(batch.tokens[row]!);
      }
    }
    ends.push(tokens.length);
  }
  const scored = Array.from(batch.scored, (_, n) => n).filter((n) => rows.has(batch.scored[n]!));
  const { prefix: _, ...same } = batch;
  const laid: Batch = {
    ...same,
    tokens: Int32Array.from(tokens),
    cuSeqlens: Int32Array.from(ends),
    scored: Int32Array.from(scored, (n) => rows.get(batch.scored[n]!)!),
    targets: pickInts(batch.targets, scored, batch.targetsPerRow ?? 1),
    ...(places.some(({ prefix }) => prefix >= 0)
      ? { prefix: Int32Array.from(places, ({ prefix }) => (prefix < 0 ? -1 : placeOf.get(prefix)!)) }
      : {}),
  };
  const pick = (values: Float32Array): Float32Array => {
    const width = values.length / batch.scored.length;
    return Float32Array.from(scored.flatMap((n) => [...values.subarray(n * width, (n + 1) * width)]));
  };
  if ('weights' in pass) return { batch: laid, weights: pick(pass.weights) };
  const gradients = Object.fromEntries(
    Object.entries(pass.gradients).map(([name, values]) => [name, pick(values as Float32Array)]),
  );
  return { batch: laid, gradients };
}

function pickInts(values: Int32Array, kept: number[], width: number): Int32Array {
  return Int32Array.from(kept.flatMap((n) => [...values.subarray(n * width, (n + 1) * width)]));
}
