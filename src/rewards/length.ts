/**
 * `length`: how well a response's length fits. Inside `min` and `max` 1, outside falling with the distance:
 * n / min below, 1 - (n - max) / max above, never under 0. With a target 1 there and falling by |n - target| / target.
 */
import { z } from 'zod';
import { commonFields, defineReward, eachResponse, quoted, Skips } from './reward.ts';
import type { Response } from './scorer.ts';

const UNITS = {
  tokens: ({ ids }: Response) => ids.length,
  words: ({ text }: Response) => text.match(/\S+/g)?.length ?? 0,
  characters: ({ text }: Response) => [...text].length,
} as const;

const schema = z
  .strictObject({
    type: z.literal('length'),
    ...commonFields,
    unit: z.enum(['tokens', 'words', 'characters']).default('tokens'),
    target: z.number().positive().optional().describe('The best length.'),
    min: z.number().positive().optional().describe('Instead of a target: shortest good length.'),
    max: z.number().positive().optional().describe('Instead of a target: longest good length.'),
  })
  .superRefine(({ target, min, max }, context) => {
    const issue = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    if (target === undefined && min === undefined && max === undefined)
      issue('target', 'is missing: give target, or min or max');
    if (target !== undefined && (min !== undefined || max !== undefined))
      issue('target', 'does not go with min and max');
    if (min !== undefined && max !== undefined && min > max) issue('min', `is above max (${max})`);
  });

export const length = defineReward({
  doc: 'How well the length fits: 1 at the target or inside the bounds, falling with the distance to 0.',
  schema,
  async open(settings) {
    const count = UNITS[settings.unit];
    const { target, min = target ?? 0, max = target ?? Number.POSITIVE_INFINITY } = settings;
    const skips = new Skips(settings);
    return eachResponse(settings, skips, (response) => {
      const n = count(response);
      if (n === 0 && settings.unit === 'tokens' && response.text !== '') {
        const hint = 'Count words or characters of texts that no model of yours has drawn.';
        return skips.skip('found a response without token ids', `: ${quoted(response.text)}`, hint);
      }
      if (n > max) return Math.max(0, 1 - (n - max) / max);
      return n < min ? n / min : 1;
    });
  },
});
