/**
 * `regex`: 1 where a regular expression is found in the response, else 0. `{{field}}` in it stands for the text of
 * that field of the row, taken literally. A search that does not end (nested repetition) is stopped.
 */
import { createContext, Script } from 'node:vm';
import { z } from 'zod';
import {
  commonFields,
  defineReward,
  fieldTexts,
  quoted,
  rewardName,
  Skips,
  skipWithoutField,
  timeoutField,
} from './reward.ts';
import type { Response } from './scorer.ts';

const PLACEHOLDER = /\{\{\s*([^{}\s]+)\s*\}\}/g;

const schema = z.strictObject({
  type: z.literal('regex'),
  ...commonFields,
  pattern: z
    .string()
    .min(1)
    .refine((source) => compiles(source.replace(PLACEHOLDER, 'x')), 'not a regular expression')
    .describe('JavaScript, with Unicode. `{{answer}}` stands for the text of the field `answer`.'),
  ignore_case: z.boolean().default(false),
  timeout_seconds: timeoutField.default(1).describe('For one response.'),
});

type Search = [pattern: RegExp, text: string];

// Run in a context of its own because only there can a search be stopped.
const searchAll = new Script('searches.map(([pattern, text]) => pattern.test(text))');

export const regex = defineReward({
  doc: '1 where a regular expression is found in the response, else 0. `{{field}}` stands for the text of that field of the row, taken literally.',
  schema,
  async open(settings) {
    const skips = new Skips(settings);
    const flags = settings.ignore_case ? 'iu' : 'u';
    const timeout = settings.timeout_seconds * 1000;
    const sandbox: { searches: Search[] } = { searches: [] };
    const context = createContext(sandbox);
    /** What is found; undefined when it takes too long. */
    const run = (searches: Search[]): boolean[] | undefined => {
      sandbox.searches = searches;
      try {
        return searchAll.runInContext(context, { timeout }) as boolean[];
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return undefined;
        throw error;
      }
    };
    return {
      name: rewardName(settings),
      skipped: skips.counts,
      async score(responses) {
        const sources = responses.map((response) => fill(settings.pattern, response));
        const compiled = new Map<string, RegExp>();
        const searches = sources.map((source, i): Search | undefined => {
          if (typeof source !== 'string') return undefined;
          const pattern = compiled.get(source) ?? new RegExp(source, flags);
          compiled.set(source, pattern);
          return [pattern, responses[i]!.text];
        });
        // All at once, which is fast; if that takes too long, one by one to find out which it is.
        const all = run(searches.filter((search) => search !== undefined));
        let at = 0;
        return responses.map((response, i) => {
          const search = searches[i];
          if (!search) return skipWithoutField(skips, response, (sources[i] as { missing: string }).missing);
          const found = all ? all[at] : run([search])?.[0];
          at += 1;
          if (found !== undefined) return found ? 1 : 0;
          return skips.skip(
            `searched for more than ${settings.timeout_seconds} s`,
            ` in the response ${quoted(response.text)}`,
            'A repetition inside a repetition may take for ever: write the pattern without.',
          );
        });
      },
      close: async () => {},
    };
  },
});

/** The pattern with the row's fields in it, or the field that is missing. */
function fill(pattern: string, response: Response): string | { missing: string } {
  let missing: string | undefined;
  const source = pattern.replace(PLACEHOLDER, (_, field: string) => {
    const texts = fieldTexts(response, field);
    if (!texts) missing = field;
    return `(?:${(texts ?? []).map(RegExp.escape).join('|')})`;
  });
  return missing === undefined ? source : { missing };
}

function compiles(source: string): boolean {
  try {
    new RegExp(source, 'u');
    return true;
  } catch {
    return false;
  }
}
