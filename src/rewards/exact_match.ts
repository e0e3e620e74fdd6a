/** `exact_match`: 1 where the response is the answer that its row names, else 0; form does not count (SQuAD's way). */
import { z } from 'zod';
import { containsAnswer, isExactMatch } from '../evaluation/match.ts';
import { commonFields, defineReward, eachResponse, fieldTexts, Skips, skipWithoutField } from './reward.ts';

const schema = z.strictObject({
  type: z.literal('exact_match'),
  ...commonFields,
  field: z
    .string()
    .min(1)
    .default('answer')
    .describe('Field of the row with the right answer, or a list of them.'),
  contains: z
    .boolean()
    .default(false)
    .describe('The answer may stand anywhere in the response, as whole words.'),
});

export const exactMatch = defineReward({
  doc: '1 where the response is the answer that its row names, else 0; case, punctuation and articles do not count.',
  schema,
  async open(settings) {
    const skips = new Skips(settings);
    const matches = settings.contains ? containsAnswer : isExactMatch;
    return eachResponse(settings, skips, (response) => {
      const answers = fieldTexts(response, settings.field);
      if (!answers) return skipWithoutField(skips, response, settings.field);
      return matches(response.text, answers) ? 1 : 0;
    });
  },
});
