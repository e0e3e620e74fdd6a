/**
 * Training on groups of answers as a `Work` of the training loop: microbatches of groups, one forward and one backward
 * of the policy each, reference numbers from wherever they come, and the step's shared numbers (KTO's divergence, BCO's
 * shift) found before its first microbatch, so that they do not depend on how the step is cut.
 */
import type { AnswerGroup } from '../data/preference.ts';
import type { Batch, Scores, Session, StepResult } from '../native/addon.ts';
import { RowStream } from '../training/stream.ts';
import type { Cursor, SetAside, Sums, Work, WorkGroup } from '../training/work.ts';
import {
  batchesOf,
  groupRows,
  groupTokens,
  type PackedGroups,
  type PackOptions,
  packGroups,
} from './batch.ts';
import type { CarriedSums } from './carried.ts';
import type { MovingReference } from './moving_reference.ts';
import {
  type GroupGradients,
  type GroupScores,
  metricsOf,
  type PreferenceObjective,
  type StepFacts,
} from './objective.ts';
import type { ReferenceLogProbs } from './reference.ts';

export interface PreferenceWorkOptions {
  session: Session;
  /** What a pass carries beside the rows: the adapter, and the dropout of a pass that trains. */
  passFields(
    pass: { cursor: Cursor; microbatch: number } | undefined,
  ): Pick<Batch, 'adapter' | 'dropoutSeed'>;
  objective: PreferenceObjective;
  groups: readonly AnswerGroup[];
  /** undefined: none. */
  validation: readonly AnswerGroup[] | undefined;
  /** undefined: the objective has none. */
  reference: ReferenceLogProbs | undefined;
  carried: CarriedSums;
  /** Where the reference follows the model. Absent: it stays. */
  moving?: MovingReference;
  /** Groups of a microbatch (with `packing` at most as many tokens as that many of the longest), and microbatches. */
  batchSize: number;
  accumulation: number;
  packing: boolean;
  seed: number;
  /** What the session has room for: `microbatchRows` of all groups. */
  maxRows: number;
  length: { steps: number } | { tokens: number } | { epochs: number };
}

export interface PreferenceStep extends WorkGroup {
  facts: StepFacts;
  cursor: Cursor;
  /** What the next step is left. */
  carry: Sums;
}

/** Rows of a microbatch at most: what a session must have room for, tokens, scored rows and sequences alike. */
export function microbatchRows(groups: readonly AnswerGroup[], pack: PackOptions, batchSize: number): number {
  return batchSize * groups.reduce((longest, group) => Math.max(longest, groupRows(group, pack)), 1);
}

export class PreferenceWork implements Work<PreferenceStep> {
  readonly totalSteps: number;
  readonly validate?: Work['validate'];
  readonly kept?: Work['kept'];
  readonly #options: PreferenceWorkOptions;
  readonly #stream: RowStream;
  readonly #pack: PackOptions;

  constructor(options: PreferenceWorkOptions) {
    this.#options = options;
    const { objective, groups, validation, batchSize, accumulation, packing, seed, length } = options;
    this.#pack = packOptions(objective);
    const lengths = Int32Array.from(groups, (group) => groupRows(group, this.#pack));
    this.#stream = new RowStream(
      { lengths, scoredCounts: Int32Array.from(groups, (group) => objective.tokens(group)) },
      {
        maxLength: lengths.reduce((a, b) => Math.max(a, b), 1),
        batchSize,
        packing: packing ? 'best_fit' : null,
        seed,
      },
    );
    this.totalSteps = 'steps' in length ? length.steps : this.#stream.countSteps(accumulation, length);
    if (options.moving) this.kept = [options.moving];
    if (validation) this.validate = (boundary) => this.#validate(validation, boundary);
  }

  async group(
    cursor: Cursor,
    setAside: readonly SetAside[],
    boundary: () => Promise<void>,
  ): Promise<PreferenceStep> {
    const { microbatches, scored, next } = this.#stream.group(cursor, this.#options.accumulation, setAside);
    const rows = microbatches.flat();
    const divisors = { sequences: rows.length, tokens: scored };
    const groups = rows.map((row) => this.#options.groups[row]!);
    const { shared, carry } = await this.#shared(groups, this.#options.carried.at(cursor), boundary);
    return {
      microbatches: microbatches.length,
      rows: microbatches,
      tokens: groups.reduce((sum, group) => sum + groupTokens(group, this.#pack.outputs), 0),
      next,
      facts: { divisors, shared },
      cursor,
      carry,
    };
  }

  async microbatch(
    step: PreferenceStep,
    index: number,
  ): Promise<{ loss: number; tokens: number; sums: Sums }> {
    const { session, objective } = this.#options;
    const groups = step.rows[index]!.map((row) => this.#options.groups[row]!);
    const packed = packGroups(groups, this.#pack);
    const reference = await this.#reference(groups, packed);
    const fields = this.#fields({ cursor: step.cursor, microbatch: index });
    const scores = await session.forward({ ...packed.batch, ...fields });
    const outcome = objective.evaluate(groups, groupScores(packed, scores, reference), step.facts);
    const gradient = scoredGradient(packed, outcome.gradients, objective.outputs);
    await session.backward(objective.outputs === 'values' ? { values: gradient } : { logProbs: gradient });
    return { loss: outcome.loss, tokens: packed.batch.tokens.length, sums: outcome.means.sums };
  }

  metrics(sums: Sums): Record<string, number> {
    return metricsOf(this.#options.objective, sums);
  }

  async applied(step: PreferenceStep, _: StepResult, number: number): Promise<void> {
    await this.#options.moving?.applied(number);
    if (Object.keys(step.carry).length > 0) this.#options.carried.leave(step.next, step.carry);
  }

  epochsAt(cursor: Cursor): number {
    return this.#stream.epochsAt(cursor);
  }

  origin(row: number): string {
    return this.#options.groups[row]!.origin;
  }

  /** Loss and metrics of the validation rows, divided as one step. */
  async #validate(
    validation: readonly AnswerGroup[],
    boundary: () => Promise<void>,
  ): Promise<Record<string, number>> {
    const { objective, maxRows } = this.#options;
    const divisors = {
      sequences: validation.length,
      tokens: validation.reduce((sum, group) => sum + objective.tokens(group), 0),
    };
    const { shared } = await this.#shared(validation, {}, boundary);
    const facts = { divisors, shared };
    const sums: Sums = {};
    let loss = 0;
    for (const groups of batchesOf(validation, this.#pack, maxRows)) {
      await boundary();
      const outcome = objective.evaluate(groups, await this.#scores(groups), facts);
      loss += outcome.loss;
      for (const [name, value] of Object.entries(outcome.means.sums)) sums[name] = (sums[name] ?? 0) + value;
    }
    const metrics = Object.entries(metricsOf(objective, sums)).map(([name, value]) => [
      `eval_${name}`,
      value,
    ]);
    return { ...Object.fromEntries(metrics), eval_loss: loss };
  }

  /** Numbers that rows decide together, from a forward pass over them. */
  async #shared(
    rows: readonly AnswerGroup[],
    carried: Sums,
    boundary: () => Promise<void>,
  ): Promise<{ shared: Record<string, number>; carry: Sums }> {
    const { objective, maxRows } = this.#options;
    const { shared } = objective;
    if (!shared) return { shared: {}, carry: {} };
    const wanted = rows.map((row) => shared.group(row)).filter((group) => group !== undefined);
    const scores: GroupScores[] = [];
    for (const groups of batchesOf(wanted, this.#pack, maxRows)) {
      await boundary();
      scores.push(...(await this.#scores(groups)));
    }
    return shared.conclude(scores, carried);
  }

  /** Numbers of groups without a gradient. */
  async #scores(groups: readonly AnswerGroup[]): Promise<GroupScores[]> {
    const packed = packGroups(groups, this.#pack);
    const reference = await this.#reference(groups, packed);
    const fields = this.#fields(undefined);
    return groupScores(
      packed,
      await this.#options.session.forward({ ...packed.batch, ...fields }),
      reference,
    );
  }

  /** What a pass of the policy carries beside the rows. */
  #fields(pass: { cursor: Cursor; microbatch: number } | undefined): Partial<Batch> {
    const { temperature } = this.#options.objective;
    return { ...this.#options.passFields(pass), ...(temperature === undefined ? {} : { temperature }) };
  }

  async #reference(groups: readonly AnswerGroup[], packed: PackedGroups): Promise<Float32Array | undefined> {
    return this.#options.objective.reference ? this.#options.reference!.logProbs(groups, packed) : undefined;
  }
}

/** How an objective's groups are packed. */
export function packOptions(
  objective: Pick<PreferenceObjective, 'outputs' | 'scorePrompt' | 'targets'>,
): PackOptions {
  return {
    outputs: objective.outputs,
    scorePrompt: objective.scorePrompt,
    teacher: objective.targets !== undefined,
  };
}

function groupScores(
  { places, batch }: PackedGroups,
  scores: Scores,
  reference: Float32Array | undefined,
): GroupScores[] {
  const k = batch.targetsPerRow ?? 1;
  return places.map(({ prompt, answers }) => ({
    prompt: scores.logProbs.subarray(prompt.start, prompt.start + prompt.length),
    answers: answers.map(({ start, length }) => ({
      logProbs: scores.logProbs.subarray(start * k, (start + length) * k),
      reference: reference?.subarray(start * k, (start + length) * k),
      entropies: scores.entropies.subarray(start, start + length),
      meanLogits: scores.meanLogits.subarray(start, start + length),
      logSumSquares: scores.logSumSquares.subarray(start, start + length),
      hits: scores.hits.subarray(start * k, (start + length) * k),
    })),
    values: Float64Array.from(answers, ({ start }) => scores.values?.[start] ?? Number.NaN),
  }));
}

/** The gradients of groups in the order of the scored rows. */
function scoredGradient(
  { batch, places }: PackedGroups,
  gradients: readonly GroupGradients[],
  outputs: PackOptions['outputs'],
): Float32Array {
  const k = batch.targetsPerRow ?? 1;
  const all = new Float32Array(batch.scored.length * k);
  places.forEach(({ prompt, answers }, i) => {
    const own = gradients[i]!;
    if (own.prompt) all.set(own.prompt, prompt.start);
    answers.forEach(({ start }, a) => {
      if (outputs === 'values') all[start] = own.values![a]!;
      else if (own.answers[a]) all.set(own.answers[a], start * k);
    });
  });
  return all;
}
