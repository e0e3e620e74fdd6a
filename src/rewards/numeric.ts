/**
 * `numeric`: 1 where the number that a response comes to equals that of its row, else 0. The number is what stands
 * behind `####` (GSM8K's form) or in `\boxed{}`; without either the last number of the text.
 */
import { z } from 'zod';
import {
  commonFields,
  defineReward,
  eachResponse,
  fieldTexts,
  quoted,
  Skips,
  skipWithoutField,
} from './reward.ts';

const schema = z.strictObject({
  type: z.literal('numeric'),
  ...commonFields,
  field: z
    .string()
    .min(1)
    .default('answer')
    .describe('Field of the row with the number, or a text that comes to it.'),
  tolerance: z.number().min(0).default(0).describe('Largest difference that counts as equal.'),
  relative_tolerance: z
    .number()
    .min(0)
    .default(1e-9)
    .describe('The same as a share of the right number; the larger of both counts.'),
});

export const numeric = defineReward({
  doc: '1 where the number that the response comes to is that of its row, else 0: the number behind `####` or in `\\boxed{}`, else the last one.',
  schema,
  async open(settings) {
    const skips = new Skips(settings);
    return eachResponse(settings, skips, (response) => {
      const texts = fieldTexts(response, settings.field);
      if (!texts) return skipWithoutField(skips, response, settings.field);
      const wanted = texts.flatMap((text) => extractNumber(text) ?? []);
      if (wanted.length === 0) {
        return skips.skip(
          `found no number in the field ${settings.field}`,
          `: ${quoted(texts.join(', '))}`,
          'The field must hold a number, or a text that ends with one.',
        );
      }
      const found = extractNumber(response.text);
      const equal = (right: number) =>
        found !== undefined &&
        Math.abs(found - right) <=
          Math.max(settings.tolerance, settings.relative_tolerance * Math.abs(right));
      return wanted.some(equal) ? 1 : 0;
    });
  },
});

// Digits with or without thousands separators, decimals and exponent; or a fraction of two whole numbers. A sign
// counts where no word or number ends before it (2023-11 has none).
const NUMBER =
  /(?<![\w.])(?:(?<=^|[^\w)\]])[-+\u2212])?(?:\d+\s*\/\s*\d+(?![\d.])|(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)/g;
const MARKED = /####\s*([^\n]*)/g;
const BOXED = /\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}/g;
const LATEX_FRACTION = /\\d?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}/g;

/** The number that a text comes to; undefined where there is none, or none that is finite. */
export function extractNumber(text: string): number | undefined {
  const place = [...text.matchAll(MARKED)].at(-1)?.[1] ?? [...text.matchAll(BOXED)].at(-1)?.[1] ?? text;
  const last = [...place.replace(LATEX_FRACTION, '$1/$2').matchAll(NUMBER)].at(-1)?.[0];
  if (last === undefined) return undefined;
  const [above = '', below] = last.replace('\u2212', '-').replaceAll(',', '').split('/');
  const value = below === undefined ? Number(above) : Number(above) / Number(below);
  return Number.isFinite(value) ? value : undefined;
}
