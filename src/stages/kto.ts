/** `kto`: answers that are labelled as good or not, one by one, against a reference point. */

import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { AnswerGroup } from '../data/preference.ts';
import { rowFiles } from '../data/shapes/read.ts';
import { KTO_LOSSES } from '../objectives/kto.ts';
import { ktoObjective, mismatchedGroups } from '../preference/labelled.ts';
import { planPreference } from '../preference/plan.ts';
import {
  checkPreference,
  preferenceFields,
  referenceFields,
  referenceInputs,
  syncFields,
} from '../preference/settings.ts';
import { runPreference } from '../preference/stage.ts';
import { defineStage, type StageContext } from './stage.ts';

const weight = z.number().positive().default(1);

const schema = z
  .strictObject({
    ...preferenceFields(1e-6),
    ...referenceFields,
    ...syncFields,
    beta: z.number().positive().default(0.1).describe('How near to the reference the policy is held.'),
    loss_type: z.enum(KTO_LOSSES).default('kto').describe('apo_zero_unpaired: without the reference point.'),
    desirable_weight: weight.describe('Weight of the desirable answers.'),
    undesirable_weight: weight.describe('Weight of the undesirable answers.'),
  })
  .superRefine((settings, context) => {
    checkPreference(settings, context);
    const rows = settings.per_device_train_batch_size * settings.gradient_accumulation_steps;
    if (settings.loss_type === 'kto' && rows < 2) {
      context.addIssue({
        code: 'custom',
        path: ['per_device_train_batch_size'],
        message: 'must make steps of at least 2 rows: the divergence is estimated over them',
      });
    }
  });
type Settings = z.output<typeof schema>;

export const ktoStage = defineStage({
  type: 'kto',
  doc: 'Trains on answers that are labelled as good or not.',
  schema,
  serves: true,
  trains: true,
  inputs: referenceInputs,
  files: rowFiles,
  plan: (context) => planPreference(context, { kind: 'labels', answers: 1, reference: true }),
  run: (context) =>
    runPreference(context, {
      kind: 'labels',
      scored: 'answers',
      objective({ train, validation, maxLength }) {
        const { settings } = context;
        adviseWeights(context, train);
        const mismatched = new Map([
          ...mismatchedGroups(train, maxLength),
          ...mismatchedGroups(validation, maxLength),
        ]);
        if (settings.loss_type === 'kto' && !train.some((group) => mismatched.has(group))) {
          throw new AnnealError('data_empty', `${context.name}: all rows have the same prompt.`, {
            path: `stages.${context.name}.dataset`,
            hint: 'KTO estimates the divergence on answers to other prompts. loss_type apo_zero_unpaired needs none.',
          });
        }
        return ktoObjective(
          {
            lossType: settings.loss_type,
            beta: settings.beta,
            desirableWeight: settings.desirable_weight,
            undesirableWeight: settings.undesirable_weight,
          },
          mismatched,
        );
      },
      // The estimate needs numbers of the mismatched answers as well.
      also: ({ train, validation, maxLength }) => [
        ...mismatchedGroups(train, maxLength).values(),
        ...mismatchedGroups(validation, maxLength).values(),
      ],
    }),
});

/**
 * Tells when the weights of the two kinds of answers are out of proportion to their numbers: weight times number of
 * the desirable ones is to be 1 to 4/3 of the undesirable ones' (KTO, eq. 8).
 */
function adviseWeights(
  { settings, name, emit }: StageContext<Settings>,
  groups: readonly AnswerGroup[],
): void {
  const desirable = groups.filter((group) => group.desirable).length;
  const undesirable = groups.length - desirable;
  if (desirable === 0 || undesirable === 0) {
    const text = `All ${groups.length} answers are ${desirable === 0 ? 'undesirable' : 'desirable'}.`;
    emit('notice', { stage: name, level: 'warning', text }, `${name}/labels`);
    return;
  }
  const ratio = (settings.desirable_weight * desirable) / (settings.undesirable_weight * undesirable);
  if (ratio >= 0.99 && ratio <= 1.34) return;
  const lowest = (settings.undesirable_weight * undesirable) / desirable;
  const text = `${desirable} desirable and ${undesirable} undesirable answers: a desirable_weight between ${lowest.toFixed(2)} and ${((lowest * 4) / 3).toFixed(2)} would balance them.`;
  emit('notice', { stage: name, level: 'info', text }, `${name}/labels`);
}
