/**
 * Supervised training as a `Work`: rows in packed microbatches, epoch after epoch, the negative log-likelihood of their
 * scored tokens divided once by those of the whole step.
 */
import type { Batch, Session } from '../native/addon.ts';
import { crossEntropyWeights, negativeLogLikelihood, total } from '../objectives/cross_entropy.ts';
import type { StageContext } from '../stages/stage.ts';
import { type SupervisedData, streamOptions } from './packing.ts';
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
  /** The microbatch that was read ahead. */
  #ahead: { rows: readonly number[]; batch: Batch } | undefined;
  #setAside: readonly SetAside[] = [];
  #waitedMs = 0;

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
    this.#setAside = setAside;
    return this.#waiting(() => {
      const { microbatches, scored, tokens, next } = this.#stream.group(
        cursor,
        this.#options.accumulation,
        setAside,
      );
      return { cursor, microbatches: microbatches.length, rows: microbatches, scored, tokens, next };
    });
  }

  async microbatch(
    step: SupervisedStep,
    index: number,
  ): Promise<{ loss: number; tokens: number; sums: Sums }> {
    const { session, passFields } = this.#options;
    const batch = this.#waiting(() => this.#read(step.rows[index]!));
    const fields = passFields({ cursor: step.cursor, microbatch: index });
    const weights = crossEntropyWeights(batch.scored.length, step.scored);
    const running = session.forwardBackward({ ...batch, ...fields }, weights);
    this.#readAhead(step, index + 1);
    const scores = await running;
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

  takeWait(): number {
    const waited = this.#waitedMs;
    this.#waitedMs = 0;
    return waited;
  }

  /** Does what the engine has to wait for. */
  #waiting<Result>(make: () => Result): Result {
    const since = performance.now();
    const result = make();
    this.#waitedMs += performance.now() - since;
    return result;
  }

  #read(rows: readonly number[]): Batch {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    if (ahead !== undefined && sameRows(ahead.rows, rows)) return ahead.batch;
    return packBatch(this.#options.rows, rows);
  }

  /** Reads the microbatch that comes next: of this step, or the first of the step after it, if there is one. */
  #readAhead(step: SupervisedStep, index: number): void {
    try {
      const rows = step.rows[index] ?? this.#stream.group(step.next, 1, this.#setAside).microbatches[0]!;
      this.#ahead = { rows, batch: packBatch(this.#options.rows, rows) };
    } catch {
      // It is read again when it is wanted, and what is wrong is said then.
      this.#ahead = undefined;
    }
  }
}

function sameRows(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((row, i) => row === b[i]);
}

/** The work of a supervised stage by its settings. */
export function supervisedWork(
  runtime: TrainingRuntime,
  context: Pick<StageContext<TrainingSettings>, 'settings' | 'seed'>,
  data: SupervisedData,
): SupervisedWork {
  const { settings } = context;
  const { session, passFields } = runtime;
  const { rows, validation } = data;
  return new SupervisedWork({
    session,
    passFields,
    rows,
    stream: streamOptions(context, data),
    accumulation: settings.gradient_accumulation_steps,
    length: trainingLength(settings),
    validation:
      validation && validation.count > 0 && settings.eval_steps !== undefined
        ? { rows: validation, maxTokens: settings.max_eval_tokens }
        : undefined,
  });
}
