/** Settings of mixing: how often the documents of each source are taken, and when. */
import { z } from 'zod';

const positive = z.number().positive();

/** Of one source. */
export const sourceMixing = {
  weight: positive
    .max(1000)
    .default(1)
    .describe('How often each document is taken, or the share of the source: see `mixing.by`.'),
  epochs: positive
    .max(1000)
    .optional()
    .describe(
      'Most times that each document is taken, on average; by `share` and `temperature` 1 unless set.',
    ),
  max_documents: z.int().min(1).optional().describe('Most training documents of this source.'),
  max_tokens: z.int().min(1).optional().describe('Most training tokens of this source.'),
};

const phaseSchema = z.strictObject({
  until: z.number().gt(0).max(1).describe('Where the phase ends, as a share of all training tokens.'),
  weights: z
    .record(z.string(), z.number().min(0))
    .default({})
    .describe('Factors on the share of the sources, by name; of those not named 1.'),
});

export const mixingSettings = z.strictObject({
  by: z
    .enum(['times', 'share', 'temperature'])
    .default('times')
    .describe(
      'What weights mean: `times`, how often each document is taken; `share`, shares of the training tokens; `temperature`, shares in proportion to (weight x tokens)^(1 / temperature).',
    ),
  temperature: positive
    .default(1)
    .describe('1: by size; the higher, the more equal the shares of large and small sources.'),
  max_tokens: z.int().min(1).optional().describe('Most training tokens in all.'),
  curriculum: z
    .array(phaseSchema)
    .min(1)
    .superRefine((phases, context) => {
      for (const [i, { until }] of phases.entries()) {
        if (i > 0 && until <= phases[i - 1]!.until)
          context.addIssue({
            code: 'custom',
            path: [i, 'until'],
            message: 'must be later than the one before',
          });
      }
      if (phases.at(-1)!.until !== 1)
        context.addIssue({
          code: 'custom',
          path: [phases.length - 1, 'until'],
          message: 'must be 1: the end',
        });
    })
    .optional()
    .describe('Phases of training, each with factors of its own; training takes them in order.'),
});
export type MixingSettings = z.output<typeof mixingSettings>;
