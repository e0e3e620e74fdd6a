/**
 * On-policy distillation as a `Work` of the training loop. A cursor's epoch is the optimiser step's number, its index
 * always 0: a step takes the next rows of an endless order, and its first microbatch waits for the answers that are to
 * be written (distillation_draws.ts). The teacher scores the answers of each microbatch as it is trained.
 *
 * Which k tokens the divergence is taken over (src/objectives/distill.ts): all, where k is the size of the vocabulary;
 * the student's likeliest for reverse KL (`beta` 1), whose expectation is over the student; else the teacher's likeliest.
 */
import { AnnealError } from '../../proto/errors.ts';
import type { Batch } from '../native/addon.ts';
import { distill } from '../objectives/distill.ts';
import { samplingMetrics } from '../rollout/measure.ts';
import { completionMetrics } from '../rollout/metrics.ts';
import { type PackedSample, packSamples } from '../rollout/pack.ts';
import { PromptOrder } from '../rollout/prompts.ts';
import { type Rollout, sampleIds } from '../rollout/rollout.ts';
import type { RolloutStore } from '../rollout/store.ts';
import type { TrainingLength } from '../training/settings.ts';
import type { Cursor, SetAside, Sums, Work, WorkGroup } from '../training/work.ts';
import { hashValue } from '../util/hash.ts';
import { addSupport, type DivergenceSettings } from './distillation.ts';
import {
  type AnswerSource,
  answerSource,
  type DistillDrawOptions,
  drawAnswers,
  type RowToDraw,
} from './distillation_draws.ts';
import { Means, meansOf } from './objective.ts';

export interface DistillWorkOptions extends DistillDrawOptions {
  store: RolloutStore;
  lmbda: number;
  seq_kd: boolean;
  /** `draw` has the temperature of writing. */
  divergence: DivergenceSettings;
  /** Rows of a microbatch, and microbatches of a step. */
  batchSize: number;
  accumulation: number;
  length: Exclude<TrainingLength, { tokens: number }>;
  /** Prompts with answers to validate on, in batches that the sessions have room for; undefined: none. */
  validation: readonly PackedSample[][] | undefined;
}

export interface DistillStep extends WorkGroup {
  microbatchSamples: PackedSample[][];
  sources: AnswerSource[];
  /** Tokens of all answers: what the loss is divided by. */
  answerTokens: number;
  drawnMetrics: Record<string, number>;
}

interface PlannedMicrobatch {
  source: AnswerSource;
  rows: RowToDraw[];
}

export class DistillWork implements Work<DistillStep> {
  readonly totalSteps: number;
  readonly validate?: Work['validate'];
  readonly #options: DistillWorkOptions;
  readonly #order: PromptOrder;
  readonly #perStep: number;

  constructor(options: DistillWorkOptions) {
    this.#options = options;
    const { rows, seed, batchSize, accumulation, length, validation } = options;
    this.#order = new PromptOrder(rows.length, seed);
    this.#perStep = batchSize * accumulation;
    this.totalSteps =
      'steps' in length
        ? length.steps
        : Math.max(1, Math.ceil((length.epochs * rows.length) / this.#perStep));
    if (validation) this.validate = (boundary) => this.#validate(validation, boundary);
  }

  async group(
    cursor: Cursor,
    setAside: readonly SetAside[],
    boundary: () => Promise<void>,
  ): Promise<DistillStep> {
    const { step, planned } = this.#plan(cursor.epoch, setAside);
    const answers = await this.#answers(step, planned, setAside, boundary);
    const { rows } = this.#options;
    const microbatchSamples = planned.map((microbatch, m) =>
      microbatch.rows.map(({ row }, i): PackedSample => {
        const { prompt, answer } = rows[row]!;
        return { group: row, prompt, ids: answers.of(m, i) ?? answer! };
      }),
    );
    const samples = microbatchSamples.flat();
    return {
      microbatches: planned.length,
      rows: planned.map((microbatch) => microbatch.rows.map(({ row }) => row)),
      tokens: samples.reduce((sum, { prompt, ids }) => sum + prompt.length + ids.length - 1, 0),
      next: { epoch: step + 1, index: 0 },
      microbatchSamples,
      sources: planned.map(({ source }) => source),
      answerTokens: samples.reduce((sum, { ids }) => sum + ids.length, 0),
      drawnMetrics: answers.metrics,
    };
  }

  async microbatch(step: DistillStep, index: number): Promise<{ loss: number; tokens: number; sums: Sums }> {
    const samples = step.microbatchSamples[index]!;
    const { loss, means, gradient, tokens } = await this.#divergence(samples, step.answerTokens);
    await this.#options.student.backward({ logProbs: Float32Array.from(gradient) });
    const own = step.sources[index] === 'student' ? 'on_policy_loss' : 'off_policy_loss';
    const answerTokens = samples.reduce((sum, { ids }) => sum + ids.length, 0);
    means.add(own, [loss * step.answerTokens], answerTokens);
    return { loss, tokens, sums: means.sums };
  }

  metrics(sums: Sums, step: DistillStep): Record<string, number> {
    return { ...meansOf(sums), ...step.drawnMetrics };
  }

  epochsAt({ epoch }: Cursor): number {
    return (epoch * this.#perStep) / this.#options.rows.length;
  }

  origin(row: number): string {
    return this.#options.rows[row]!.origin;
  }

  /** The rows of a step without those set aside; a step of which none is left is passed over. */
  #plan(from: number, setAside: readonly SetAside[]): { step: number; planned: PlannedMicrobatch[] } {
    const { rows, seed, batchSize, accumulation } = this.#options;
    const gone = new Set(setAside.flatMap((each) => (each.from.epoch <= from ? each.rows : [])));
    const last = from + Math.ceil(rows.length / this.#perStep);
    for (let step = from; step <= last; step++) {
      const planned = Array.from({ length: accumulation }, (_, m) => ({
        source: answerSource(this.#options, seed, step, m),
        rows: Array.from({ length: batchSize }, (_, i) => m * batchSize + i)
          .map((place) => ({ place, row: this.#order.at(step * this.#perStep + place) }))
          .filter(({ row }) => !gone.has(row)),
      })).filter((microbatch) => microbatch.rows.length > 0);
      if (planned.length > 0) return { step, planned };
    }
    throw new AnnealError('data_empty', 'No rows are left to train on: all of them were set aside.', {
      hint: 'Lower the learning rate, or widen max_loss_spike and max_grad_norm_spike.',
    });
  }

  /** What is written for a step, found on disk or written now; and its metrics. */
  async #answers(
    step: number,
    planned: readonly PlannedMicrobatch[],
    setAside: readonly SetAside[],
    boundary: () => Promise<void>,
  ): Promise<{
    of: (microbatch: number, i: number) => Int32Array | undefined;
    metrics: Record<string, number>;
  }> {
    const { store } = this.#options;
    const by = (source: AnswerSource) =>
      planned.filter((each) => each.source === source).map(({ rows }) => rows);
    const wanted = { student: by('student'), teacher: by('teacher') };
    const order = [...wanted.student, ...wanted.teacher].flat();
    if (order.length === 0) return { of: () => undefined, metrics: {} };
    // It depends on the rows of the step, and by the weights on those that were set aside before it.
    const key = hashValue(setAside.filter(({ from }) => from.epoch <= step));
    let rollout = await store.read(step, key);
    if (!rollout) {
      rollout = await drawAnswers(this.#options, step, wanted, boundary);
      await store.write(rollout, key);
    }
    const drawn = rollout;
    const sampleOf = new Map(order.map(({ place }, sample) => [place, sample]));
    return {
      of: (microbatch, i) => {
        const { source, rows } = planned[microbatch]!;
        return source === 'dataset' ? undefined : sampleIds(drawn, sampleOf.get(rows[i]!.place)!);
      },
      metrics: drawnMetrics(drawn, wanted.student.flat().length),
    };
  }

  /** The divergence of the student from the teacher on some answers, divided by `divisor`. */
  async #divergence(samples: readonly PackedSample[], divisor: number) {
    const { student, studentFields } = this.#options;
    const { beta, k, vocabSize, temperature } = this.#options.divergence;
    const batch: Batch = { ...packSamples(samples), ...(temperature === 1 ? {} : { temperature }) };
    const { ids, teacher } = await this.#support(batch);
    const scores = await student.forward({ ...batch, ...studentFields, targets: ids, targetsPerRow: k });
    const means = new Means().add('entropy', scores.entropies);
    addSupport(means, scores.logProbs, teacher, k);
    const outcome = distill(scores.logProbs, teacher, k, { beta, rest: k < vocabSize }, { tokens: divisor });
    return { ...outcome, means, tokens: batch.tokens.length };
  }

  /** The k tokens of each scored row, and the teacher's log-probabilities of them. */
  async #support(batch: Batch): Promise<{ ids: Int32Array; teacher: Float32Array }> {
    const { student, studentFields, teacher, divergence } = this.#options;
    const { beta, k, vocabSize } = divergence;
    if (k < vocabSize && beta < 1) {
      const top = await teacher.topLogProbs(batch, k);
      return { ids: top.ids, teacher: top.logProbs };
    }
    const ids =
      k === vocabSize
        ? Int32Array.from({ length: batch.scored.length * k }, (_, i) => i % k)
        : (await student.topLogProbs({ ...batch, ...studentFields }, k)).ids;
    const { logProbs } = await teacher.forward({ ...batch, targets: ids, targetsPerRow: k });
    return { ids, teacher: logProbs };
  }

  /** Loss and metrics on the answers of the validation rows, divided as one step. */
  async #validate(
    validation: readonly PackedSample[][],
    boundary: () => Promise<void>,
  ): Promise<Record<string, number> & { eval_loss: number }> {
    const tokens = validation.flat().reduce((sum, { ids }) => sum + ids.length, 0);
    const sums: Sums = {};
    let total = 0;
    for (const samples of validation) {
      await boundary();
      const { loss, means } = await this.#divergence(samples, tokens);
      total += loss;
      for (const [name, value] of Object.entries(means.sums)) sums[name] = (sums[name] ?? 0) + value;
    }
    const metrics = Object.entries(meansOf(sums)).map(([name, value]) => [`eval_${name}`, value]);
    return { ...Object.fromEntries(metrics), eval_loss: total };
  }
}

/** Of all that was written, and of what the first `byStudent` samples say about the sampler. */
function drawnMetrics(rollout: Rollout, byStudent: number): Record<string, number> {
  const samples = Array.from({ length: rollout.prompts.length }, (_, i) => i);
  return {
    ...completionMetrics(rollout, samples),
    ...(byStudent > 0 ? samplingMetrics(rollout, samples.slice(0, byStudent)) : {}),
  };
}
