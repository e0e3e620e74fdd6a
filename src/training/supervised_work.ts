/**
 * Supervised training as a `Work`: rows in packed microbatches, epoch after epoch, the negative log-likelihood of their
 * scored tokens divided once by those of the whole step.
 */
import type { Batch, Session } from '../native/addon.ts';
import { crossEntropyWeights, negativeLogLikelihood, total } from '../objectives/cross_entropy.ts';
import type { StageContext } from '../stages/stage.ts';
import { packBatch, type RowSource } from './rows.ts';
import type { TrainingPass, TrainingRuntime } from './run.ts';
import { type TrainingLength, type TrainingSettings, trainingLength } from './settings.ts';
import { RowStream, type SetAside, type StreamOptions } from './stream.ts';
import { validationBatches, validationMetrics } from './validation.ts';
import type { Cursor, Sums, Validate, Work, WorkGroup } from './work.ts';

export interface SupervisedWorkOptions {
  session: Session;
  rows: RowSource;
  stream: StreamOptions;
  /** Microbatches of a step. */
  accumulation: number;
  length: TrainingLength;
  /** What a pass carries beside the rows: the adapter, and the dropout of a pass that trains. */
  passFields(pass: TrainingPass | undefined): Pick<Batch, 'adapter' | 'dropoutSeed'>;
  /** Rows that are validated on, and tokens of them at most; undefined: none. */
  validation: { rows: RowSource; maxTokens: number } | undefined;
}

export interface SupervisedStep extends WorkGroup {
  cursor: Cursor;
  /** Scored positions of the whole step: what the loss is divided by. */
  scored: number;
}

export class SupervisedWork implements Work<SupervisedStep> {
  readonly totalSteps: number;
  readonly validate: Validate | undefined;
  readonly #options: SupervisedWorkOptions;
  readonly #stream: RowStream;

  constructor(options: SupervisedWorkOptions) {
    this.#options = options;
    const { rows, stream, accumulation, length, validation, session, passFields } = options;
    this.#stream = new RowStream(rows, stream);
    this.totalSteps = 'steps' in length ? length.steps : this.#stream.countSteps(accumulation, length);
    if (validation) {
      const { batchSize, maxLength } = stream;
      const batches = validationBatches(validation.rows, batchSize * maxLength, validation.maxTokens);
      this.validate = (boundary) =>
        validationMetrics(session, validation.rows, batches, passFields(undefined), boundary);
    }
  }

  async group(cursor: Cursor, setAside: readonly SetAside[]): Promise<SupervisedStep> {
    const { microbatches, scored, tokens, next } = this.#stream.group(
      cursor,
      this.#options.accumulation,
      setAside,
    );
    return { cursor, microbatches: microbatches.length, rows: microbatches, scored, tokens, next };
  }

  async microbatch(
    step: SupervisedStep,
    index: number,
  ): Promise<{ loss: number; tokens: number; sums: Sums }> {
    const { rows, session, passFields } = this.#options;
    const batch = packBatch(rows, step.rows[index]!);
    const fields = passFields({ cursor: step.cursor, microbatch: index });
    const weights = crossEntropyWeights(batch.scored.length, step.scored);
    const scores = await session.forwardBackward({ ...batch, ...fields }, weights);
    return {
      loss: negativeLogLikelihood(scores.logProbs) / step.scored,
      tokens: batch.tokens.length,
      sums: { entropy: total(scores.entropies), hits: total(scores.hits) },
    };
  }

  metrics(sums: Sums, step: SupervisedStep): Record<string, number> {
    return { entropy: sums.entropy! / step.scored, mean_token_accuracy: sums.hits! / step.scored };
  }

  epochsAt(cursor: Cursor): number {
    return this.#stream.epochsAt(cursor);
  }

  origin(row: number): string {
    return this.#options.rows.origin(row);
  }
}

/** The work of a supervised stage by its settings. */
export function supervisedWork(
  runtime: TrainingRuntime,
  { settings, seed }: Pick<StageContext<TrainingSettings>, 'settings' | 'seed'>,
  data: { rows: RowSource; validation: RowSource | undefined; maxLength: number; packing: boolean },
): SupervisedWork {
  const { session, passFields } = runtime;
  const { rows, validation, maxLength, packing } = data;
  return new SupervisedWork({
    session,
    passFields,
    rows,
    stream: { maxLength, batchSize: settings.per_device_train_batch_size, packing, seed },
    accumulation: settings.gradient_accumulation_steps,
    length: trainingLength(settings),
    validation:
      validation && validation.count > 0 && settings.eval_steps !== undefined
        ? { rows: validation, maxTokens: settings.max_eval_tokens }
        : undefined,
  });
}
