/** The setting of stages that ask several models: how each of them is asked. */
import { z } from 'zod';

/** By the models' names. */
export const promptingField = z
  .record(z.string(), z.enum(['raw', 'chat']))
  .default({})
  .describe('How each model is asked. Default: raw after `pretrain` and without a chat template, else chat.');

/** Refuses names that are none of the models. */
export function checkPrompting(
  { models, prompting }: { models: Record<string, string>; prompting: z.output<typeof promptingField> },
  context: z.RefinementCtx,
): void {
  for (const name of Object.keys(prompting)) {
    if (Object.hasOwn(models, name)) continue;
    context.addIssue({ code: 'custom', path: ['prompting', name], message: 'is not one of models' });
  }
}
