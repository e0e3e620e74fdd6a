/**
 * Events of a job, in the order of their sequence numbers. Published on `job.<id>.<kind>` after they are stored.
 */
import { z } from 'zod';

const errorBody = z.strictObject({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
  path: z.string().optional(),
});

const cell = z.union([z.string(), z.number(), z.null()]);

const overlapBody = z.strictObject({
  rows: z.int().describe('Rows of the evaluation.'),
  models: z.array(
    z.strictObject({
      model: z.string(),
      contaminated: z.int().describe('Rows that its training data has, as far as it was compared with them.'),
      compared: z
        .array(
          z.strictObject({
            dataset: z.string().describe('`job/stage`'),
            artifact: z.string().describe('Hash of what the stage made.'),
            rows: z.int().describe('Rows that it was compared with.'),
            contaminated: z.int().describe('Rows that it has.'),
          }),
        )
        .describe(
          'What the model comes from and was compared with rows of this evaluation: prepared datasets, and stages by the files that they read.',
        ),
      not_checked: z
        .array(
          z.strictObject({
            source: z.string().describe('`job/stage`, or a folder.'),
            reason: z
              .enum(['not_decontaminated', 'other_rows', 'files_changed', 'own_stage', 'unknown'])
              .describe(
                'A dataset prepared without `decontamination`; one compared with other rows; files that have changed or gone since a stage read them; data of a stage that a module defines; a model whose training data no lineage names.',
              ),
            rows: z.int().describe('Rows that it was not compared with.'),
          }),
        )
        .describe('What else the model was trained on.'),
      text: z.string().describe('For people: `contaminated 2 of 12 rows (by story/sft)`.'),
    }),
  ),
  others: z
    .array(z.array(cell))
    .describe('`rows` again for models that have contaminated rows: the scores on the others.'),
  hint: z.string().optional().describe('How to have checked what was not.'),
});
export type ReportOverlap = z.output<typeof overlapBody>;

export const EVENTS = {
  state: {
    doc: 'The job changed its state.',
    body: z.strictObject({ state: z.string(), error: errorBody.nullable(), attempt: z.int() }),
  },
  queue: {
    doc: 'What a queued job waits for is another thing than before.',
    body: z.strictObject({
      reason: z
        .enum(['device', 'window', 'retry'])
        .describe('Another job on its device, its hours of the day, or the delay after a fault.'),
      job: z.string().nullable().describe('The job that it waits for.'),
      until: z.number().nullable().describe('Unix seconds.'),
      text: z.string().describe('For people: `waits for j3`, `waits for 22:00`.'),
    }),
  },
  graph: {
    doc: 'The stages of the recipe in the order in which they run, and those that each needs; before the first.',
    body: z.strictObject({
      stages: z.array(z.strictObject({ stage: z.string(), type: z.string(), needs: z.array(z.string()) })),
    }),
  },
  stage: {
    doc: 'A stage began, ended, was taken from the store of artifacts, or cannot run because one that it needs failed.',
    body: z.strictObject({
      stage: z.string(),
      type: z.string(),
      phase: z.enum(['started', 'finished', 'reused', 'failed', 'skipped']),
      index: z.int(),
      count: z.int(),
      artifact: z.string().nullable().describe('Hash of what came out.'),
      seconds: z.number().nullable(),
      error: errorBody.optional().describe('Why it failed or was skipped.'),
    }),
  },
  progress: {
    doc: 'How far a stage is: one a training step, or a few a second of other work.',
    body: z.strictObject({
      stage: z.string(),
      done: z.number(),
      total: z.number().nullable(),
      unit: z.string().describe('`step`, `document`, `byte`, `merge`, ...'),
      metrics: z
        .record(z.string(), z.number())
        .describe("TRL's names: `loss`, `learning_rate`, `grad_norm`, ..."),
    }),
  },
  speed: {
    doc: 'Figures of the machine, not of the training: they differ from run to run and may repeat after a restart.',
    body: z.strictObject({
      stage: z.string(),
      tokens_per_second: z.number().nullable(),
      matrix_share: z.number().nullable().describe("Share of the machine's measured matrix speed, 0 to 1."),
      memory_bytes: z.number(),
      eta_seconds: z.number().nullable(),
      data_wait_seconds: z
        .number()
        .optional()
        .describe('How long the engine has waited for data since the last of these figures.'),
      data_wait_share: z.number().optional().describe('The same as a share of the time, 0 to 1.'),
    }),
  },
  audit: {
    doc: 'What a training stage found in its data before step 0.',
    body: z.strictObject({
      stage: z.string(),
      rows: z.int(),
      tokens: z.int(),
      scored_tokens: z.int(),
      bos: z.int(),
      eos: z.int(),
      scored_eos: z.int(),
      too_long: z.int(),
      skipped: z.record(z.string(), z.int()).optional().describe('Rows left out, by reason.'),
      packing: z
        .strictObject({
          strategy: z.string(),
          microbatches: z.int(),
          fill_mean: z.number(),
          fill_min: z.number(),
        })
        .optional()
        .describe('Microbatches of the first epoch, and the share of their token budget that is real.'),
      examples: z.array(
        z.strictObject({
          row: z.string(),
          spans: z.array(z.strictObject({ text: z.string(), scored: z.boolean() })),
        }),
      ),
    }),
  },
  validation: {
    doc: 'Loss on the validation split.',
    body: z.strictObject({ stage: z.string(), step: z.int(), metrics: z.record(z.string(), z.number()) }),
  },
  sample: {
    doc: 'Text generated on a schedule during training.',
    body: z.strictObject({ stage: z.string(), step: z.int(), prompt: z.string(), text: z.string() }),
  },
  checkpoint: {
    doc: 'A checkpoint is complete on disk.',
    body: z.strictObject({ stage: z.string(), step: z.int(), bytes: z.number() }),
  },
  notice: {
    doc: 'Something that a person should know: a rollback, rows set aside, a restart.',
    body: z.strictObject({
      stage: z.string().nullable(),
      level: z.enum(['info', 'warning', 'error']),
      text: z.string(),
    }),
  },
  report: {
    doc: 'A table that a stage made: an evaluation, ranks, a self-test.',
    body: z.strictObject({
      stage: z.string(),
      title: z.string(),
      columns: z.array(z.string()),
      rows: z.array(z.array(cell)),
      examples: z.array(
        z.strictObject({
          prompt: z.string(),
          expected: z.string(),
          outputs: z.record(z.string(), z.string()),
        }),
      ),
      overlap: overlapBody.optional().describe("What the models' training data has of an evaluation."),
    }),
  },
  token: {
    doc: 'More text of a generation.',
    body: z.strictObject({ text: z.string() }),
  },
  completion: {
    doc: 'A generation ended.',
    body: z.strictObject({
      text: z.string(),
      finish: z.enum(['stop', 'length', 'cancelled']),
      prompt_tokens: z.int(),
      completion_tokens: z.int(),
      seconds: z.number(),
    }),
  },
  log: {
    doc: 'A line of the log of the worker.',
    body: z.strictObject({ level: z.string(), text: z.string() }),
  },
} as const;

export type EventKind = keyof typeof EVENTS;
export type EventBody<K extends EventKind> = z.output<(typeof EVENTS)[K]['body']>;

export const eventSchema = z.strictObject({
  job: z.string(),
  seq: z.int().describe('From 1, without gaps, within the job.'),
  kind: z.string(),
  time: z.number().describe('Unix seconds.'),
  body: z.record(z.string(), z.unknown()),
});
/** An event as stored and published. */
export type JobEvent = {
  [K in EventKind]: { job: string; seq: number; kind: K; time: number; body: EventBody<K> };
}[EventKind];
