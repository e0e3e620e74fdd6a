/** Settings of packing, which the stages with supervised work share, and what the audit says of it. */
import { z } from 'zod';
import type { EventBody } from '../../proto/events.ts';
import { PACKING_STRATEGIES, type PackingStrategy } from '../data/pack.ts';
import type { StageContext } from '../stages/stage.ts';
import type { RowSource } from './rows.ts';
import type { TrainingSettings } from './settings.ts';
import { firstFill, type StreamOptions } from './stream.ts';

export const packingStrategy = z
  .enum(PACKING_STRATEGIES)
  .default('best_fit')
  .describe(
    'best_fit: rows in random order, each into the microbatch that it fills best. bfd: longest rows first. bfd_split: bfd, and rows longer than max_length are cut into several.',
  );

/** Rows of a stage, and how they come into microbatches. */
export interface SupervisedData {
  rows: RowSource;
  validation: RowSource | undefined;
  maxLength: number;
  /** null: not packed. */
  packing: PackingStrategy | null;
}

interface PackingSettings<TooLong extends string> {
  packing_strategy: PackingStrategy;
  too_long?: TooLong | undefined;
}

/** Contradictions between the strategy and `too_long`. */
export function checkPacking(settings: PackingSettings<string>, context: z.RefinementCtx): void {
  const { packing_strategy, too_long } = settings;
  if (packing_strategy === 'bfd_split' && too_long !== undefined && too_long !== 'split') {
    context.addIssue({
      code: 'custom',
      path: ['too_long'],
      message: `contradicts packing_strategy: bfd_split, which cuts long rows; use bfd with too_long: ${too_long}`,
    });
  }
}

/** What becomes of rows that are too long; undefined: they are an error. */
export function tooLongOf<TooLong extends string>(
  settings: PackingSettings<TooLong | 'split'>,
): TooLong | 'split' | undefined {
  return settings.packing_strategy === 'bfd_split' ? 'split' : settings.too_long;
}

/** How a stage's rows come into microbatches. */
export function streamOptions(
  { settings, seed }: Pick<StageContext<TrainingSettings>, 'settings' | 'seed'>,
  { maxLength, packing }: SupervisedData,
): StreamOptions {
  return { maxLength, batchSize: settings.per_device_train_batch_size, packing, seed };
}

/** Tells the audit, with how much of each microbatch is real. */
export function emitAudit(
  context: Pick<StageContext<TrainingSettings>, 'settings' | 'seed' | 'name' | 'emit'>,
  audit: EventBody<'audit'>,
  data: SupervisedData,
): void {
  const key = `${context.name}/audit`;
  if (data.packing === null) {
    context.emit('audit', audit, key);
    return;
  }
  const { microbatches, mean, min } = firstFill(data.rows, streamOptions(context, data));
  const packing = { strategy: data.packing, microbatches, fill_mean: mean, fill_min: min };
  context.emit('audit', { ...audit, packing }, key);
}
