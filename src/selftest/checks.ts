/**
 * The checks on a recorded step: the same batch in other splits gives the same gradient; the sampler's log-probs are
 * the trainer's; what is saved and loaded, restored or resumed has the same bits. Differences of gradients are
 * relative: of each tensor the largest difference over its largest element (or over 1e-4 of the largest of all
 * tensors, for those whose gradient is nothing but rounding, such as biases of keys).
 */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Addon, Session, SessionOptions, StepOptions, TensorSource } from '../native/addon.ts';
import type { Recording } from './recorder.ts';
import { accumulated, inTwoCalls, type Pass, reversed, sharesPrefixes, unshared } from './splits.ts';

export interface Check {
  name: string;
  ok: boolean;
  /** The largest difference that was found; 0: not a bit. */
  figure: number;
  /** What it may be. */
  bound: number;
  /** Half of the tensors differ by less; null where there are none. */
  typical: number | null;
}

const GRADIENT_BOUND = 1e-4;
const SAMPLER_BOUND = 1e-5;
const PARTS = 4;
const SAMPLED_TOKENS = 16;
const SAMPLED_PROMPTS = 4;

/** Runs all checks; closes every session. `dir` is a folder for the files. */
export async function checkStep(
  addon: Addon,
  recordings: Recording[],
  step: StepOptions,
  dir: string,
): Promise<Check[]> {
  const checks: Check[] = [];
  const left: Left[] = [];
  for (const [i, recorded] of recordings.entries()) {
    const recording = await withGradients(recorded);
    const prefix = recordings.length > 1 ? `model ${i + 1}: ` : '';
    left.push(await checkLive(recording, step, join(dir, `session-${i}`), prefix, checks));
  }
  // Now one session at a time: two might not fit into memory.
  for (const { session } of recordings) await session.close();
  for (const each of left) await checkAgain(addon, each, step, checks);
  return checks;
}

/**
 * A step may have no gradient at all (rewards that are all the same): its passes are given one then, of 1 for each
 * number, so that there is something to compare.
 */
async function withGradients(recording: Recording): Promise<Recording> {
  const gradients = await gradientsOf(recording, recording.session);
  if (gradients.some((values) => values.some((value) => value !== 0))) return recording;
  const passes = recording.passes.map((pass): Pass => {
    const { batch } = pass;
    const given = 'weights' in pass ? { logProbs: pass.weights } : pass.gradients;
    const ones = Object.entries(given).map(([name, values]) => [name, values.map(() => 1)]);
    return { batch, gradients: Object.fromEntries(ones) };
  });
  return { ...recording, passes, replaced: true };
}

/** What a closed session has left for comparison. */
interface Left {
  recording: Recording;
  prefix: string;
  path: string;
  gradients: Float32Array[];
  logProbs: Float32Array;
  stepped: string;
}

async function checkLive(
  recording: Recording,
  step: StepOptions,
  path: string,
  prefix: string,
  checks: Check[],
): Promise<Left> {
  const { session, options, passes, replaced } = recording;
  const own = replaced ? undefined : await gradientsOf(recording, session);
  const replay = async (split: (pass: Pass) => Pass[]) => {
    await session.clearGradients();
    for (const pass of passes.flatMap(split)) await run(session, pass);
    return gradientsOf(recording, session);
  };
  const gradients = await replay((pass) => [pass]);
  const compare = (name: string, other: Float32Array[], bound: number) =>
    checks.push(gradientCheck(prefix + name, gradients, other, bound));
  if (own) compare('the same batch again: gradient', own, 0);
  if (passes.some((pass) => 'weights' in pass))
    compare('forward, then backward: gradient', await replay((pass) => [inTwoCalls(pass)]), GRADIENT_BOUND);
  const parts = await replay((pass) => accumulated(pass, PARTS));
  compare('accumulated in microbatches: gradient', parts, GRADIENT_BOUND);
  compare('packed in another order: gradient', await replay(reversed), GRADIENT_BOUND);
  if (passes.some(sharesPrefixes)) {
    const apart = await replay((pass) => unshared(pass, options.maxTokens));
    compare('without shared prefixes: gradient', apart, GRADIENT_BOUND);
  }
  const draws = options.generationSlots > 0 && passes[0]!.batch.outputs !== 'values';
  const { adapter } = passes[0]!.batch;
  if (draws)
    checks.push(await samplerCheck(session, passes, options, `${prefix}sampler and trainer: log-probs`));

  // Of the weights as they are: probes, files, and the step once and once more.
  await session.clearGradients();
  for (const pass of passes) await run(session, pass);
  await session.snapshot();
  await session.step(step);
  const stepped = await digest(recording, session);
  await session.restoreSnapshot();
  await session.step(step);
  checks.push(
    sameBits(
      `${prefix}step, back to the snapshot, step: weights`,
      stepped === (await digest(recording, session)),
    ),
  );
  await session.restoreSnapshot();
  await session.writeSnapshot(`${path}.snapshot`);
  for (const set of allSets(options)) await exportSet(session, `${path}.${set ?? 'base'}`, set);
  const logProbs = await probe(session, passes);
  if (draws && adapter !== undefined) {
    // At its start an adapter changes nothing: one of numbers that do. The session is not used any more.
    await session.initAdapter(adapter, { seed: 0, kind: 'random' });
    const name = `${prefix}sampler and trainer, adapter of random numbers: log-probs`;
    checks.push(await samplerCheck(session, passes, options, name));
  }
  return { recording, prefix, path, gradients, logProbs, stepped };
}

/** The checks that need a session of their own. */
async function checkAgain(addon: Addon, left: Left, step: StepOptions, checks: Check[]): Promise<void> {
  const { recording, prefix, path, gradients, logProbs, stepped } = left;
  const { options, passes, groups } = recording;
  const open = async (changed: Partial<SessionOptions>) => {
    const session = await addon.createSession({ ...options, ...changed });
    for (const set of allSets(options)) await importSet(session, `${path}.${set ?? 'base'}`, set);
    for (const each of groups) await session.setParameterGroups(each.groups, each.adapter);
    return session;
  };
  const loaded = await open({});
  try {
    checks.push(
      sameBits(`${prefix}saved and loaded: log-probs`, equal(await probe(loaded, passes), logProbs)),
    );
    await loaded.readSnapshot(`${path}.snapshot`);
    await loaded.step(step);
    const resumed = (await digest(recording, loaded)) === stepped;
    checks.push(sameBits(`${prefix}resumed from a file, step: weights`, resumed));
  } finally {
    await loaded.close();
  }
  const other = await open({ recompute: !options.recompute });
  try {
    await other.clearGradients();
    for (const pass of passes) await run(other, pass);
    const name = options.recompute ? 'activations kept' : 'activations recomputed';
    checks.push(
      gradientCheck(
        `${prefix}${name}: gradient`,
        gradients,
        await gradientsOf(recording, other),
        GRADIENT_BOUND,
      ),
    );
  } finally {
    await other.close();
    await rm(`${path}.snapshot`, { force: true });
    for (const set of allSets(options)) await rm(`${path}.${set ?? 'base'}`, { force: true });
  }
}

async function run(session: Session, pass: Pass): Promise<void> {
  if ('weights' in pass) {
    await session.forwardBackward(pass.batch, pass.weights);
    return;
  }
  await session.forward(pass.batch);
  await session.backward(pass.gradients);
}

/** The base (undefined) and the adapters. */
function allSets(options: SessionOptions): (number | undefined)[] {
  return [undefined, ...(options.adapters ?? []).keys()];
}

function trainedSets(options: SessionOptions): (number | undefined)[] {
  return allSets(options).filter((set) =>
    set === undefined ? options.trainable : options.adapters![set]!.trainable,
  );
}

async function gradientsOf({ options }: Recording, session: Session): Promise<Float32Array[]> {
  const gradients: Float32Array[] = [];
  for (const set of trainedSets(options)) {
    for (const { name } of session.tensors(set))
      gradients.push(await session.readTensor(name, 'gradient', set));
  }
  return gradients;
}

/** Hash of all trained weights. */
async function digest({ options }: Recording, session: Session): Promise<string> {
  const hash = createHash('sha256');
  for (const set of trainedSets(options)) {
    for (const { name } of session.tensors(set)) hash.update(await session.readTensor(name, 'weight', set));
  }
  return hash.digest('hex');
}

/** Log-probs (or values) of the first pass: numbers that hang on all weights. */
async function probe(session: Session, passes: Pass[]): Promise<Float32Array> {
  const { logProbs, values } = await session.forward(passes[0]!.batch);
  return Float32Array.from([...logProbs, ...values]);
}

async function exportSet(session: Session, path: string, set: number | undefined): Promise<void> {
  const names = session.tensors(set).map(({ name }) => name);
  await session.exportTensors(path, new Uint8Array(0), names, set);
}

async function importSet(session: Session, path: string, set: number | undefined): Promise<void> {
  let offset = 0;
  const sources = session.tensors(set).map(({ name, shape }): TensorSource => {
    const source = { name, path, offset, dtype: 'F32' } as const;
    offset += 4 * shape.reduce((product, size) => product * size, 1);
    return source;
  });
  await session.importTensors(sources, set);
}

/** Draws tokens after the beginnings of some rows and scores the same tokens with the trainer, both by its weights. */
async function samplerCheck(
  session: Session,
  passes: Pass[],
  options: SessionOptions,
  name: string,
): Promise<Check> {
  const { batch } = passes[0]!;
  const weights = batch.adapter === undefined ? {} : { adapter: batch.adapter };
  const limit = Math.min(options.generationLength, options.maxTokens) - SAMPLED_TOKENS;
  const prompts = Array.from({ length: Math.min(SAMPLED_PROMPTS, batch.cuSeqlens.length - 1) }, (_, s) => {
    const [from, to] = [batch.cuSeqlens[s]!, batch.cuSeqlens[s + 1]!];
    return batch.tokens.slice(from, from + Math.max(1, Math.min(limit, Math.ceil((to - from) / 2))));
  });
  let largest = 0;
  for (const [seed, prompt] of prompts.entries()) {
    const { tokens, logProbs } = await draw(session, weights, prompt, seed);
    const whole = Int32Array.from([...prompt, ...tokens]);
    const scores = await session.forward({
      tokens: whole,
      cuSeqlens: Int32Array.from([0, whole.length]),
      scored: Int32Array.from(tokens, (_, i) => prompt.length - 1 + i),
      targets: tokens,
      ...weights,
    });
    for (const [i, value] of logProbs.entries())
      largest = Math.max(largest, Math.abs(value - scores.logProbs[i]!));
  }
  const ok = largest <= SAMPLER_BOUND;
  return { name, ok, figure: largest, bound: SAMPLER_BOUND, typical: null };
}

async function draw(
  session: Session,
  weights: { adapter?: number },
  prompt: Int32Array,
  seed: number,
): Promise<{ tokens: Int32Array; logProbs: Float32Array }> {
  const sampling = {
    maxNewTokens: SAMPLED_TOKENS,
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    seed,
    stopTokens: new Int32Array(0),
  };
  const [completion] = await session.generate([{ prompt, samples: 1, sampling, ...weights }]);
  return completion!;
}

function gradientCheck(name: string, reference: Float32Array[], other: Float32Array[], bound: number): Check {
  const largest = reference.map((values) => maximum(values, (value) => value));
  const floor = 1e-4 * Math.max(...largest, Number.MIN_VALUE);
  const differences = reference.map((values, i) => {
    const difference = maximum(values, (value, j) => value - other[i]![j]!);
    return difference === 0 ? 0 : difference / Math.max(largest[i]!, floor);
  });
  const figure = Math.max(...differences);
  const typical = differences.toSorted((a, b) => a - b)[Math.floor(differences.length / 2)]!;
  return { name, ok: figure <= bound, figure, bound, typical };
}

/** The largest size of a number of each element; NaN counts as infinite. */
function maximum(values: Float32Array, of: (value: number, index: number) => number): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(of(values[i]!, i));
    if (!(size <= largest)) largest = Number.isNaN(size) ? Number.POSITIVE_INFINITY : size;
  }
  return largest;
}

function equal(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
}

function sameBits(name: string, same: boolean): Check {
  return { name, ok: same, figure: same ? 0 : Number.POSITIVE_INFINITY, bound: 0, typical: null };
}
