/**
 * `regex`: 1 where a regular expression is found in the response, else 0. `{{field}}` in it stands for the text of
 * that field of the row, taken literally. A search that does not end (nested repetition) is stopped.
 */
import { createContext, Script } from 'node:vm';
import { z } from 'zod';
import {
  commonFields,
  defineReward,
  eachResponse,
  fieldTexts,
  quoted,
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

// Run in a context of its own because only there can a search be stopped.
const search = new Script('pattern.test(text)');

export const regex = defineReward({
  doc: '1 where a regular expression is found in the response, else 0. `{{field}}` stands for the text of that field of the row, taken literally.',
  schema,
  async open(settings) {
    const skips = new Skips(settings);
    const flags = settings.ignore_case ? 'iu' : 'u';
    const sandbox: { pattern: RegExp | undefined; text: string } = { pattern: undefined, text: '' };
    const context = createContext(sandbox);
    const compiled = new Map<string, RegExp>();
    return eachResponse(settings, skips, (response) => {
      const source = fill(settings.pattern, response);
      if (typeof source !== 'string') return skipWithoutField(skips, response, source.missing);
      const pattern = compiled.get(source) ?? new RegExp(source, flags);
      if (compiled.size > 1_000) compiled.clear();
      compiled.set(source, pattern);
      Object.assign(sandbox, { pattern, text: response.text });
      try {
        return search.runInContext(context, { timeout: settings.timeout_seconds * 1000 }) ? 1 : 0;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
        return skips.skip(
          `searched for more than ${settings.timeout_seconds} s`,
          ` in the response ${quoted(response.text)}`,
          'A repetition inside a repetition may take for ever: write the pattern without.',
        );
      }
    });
  },
});

/** The pattern with the row's fields in it, or the field that is missing. */
function fill(pattern: string, response: Response): string | { missing: string } {
  let missing: string | undefined;
  const source = pattern.replace(PLACEHOLDER, (_, field: string) => {
    const texts = fieldTexts(response, field);
    if (!texts) missing = field;
    return `(?:${(texts ?? []).map(literal).join('|')})`;
  });
  return missing === undefined ? source : { missing };
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}

function compiles(source: string): boolean {
  try {
    new RegExp(source, 'u');
    return true;
  } catch {
    return false;
  }
}
