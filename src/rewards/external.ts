/** What programs of others are told about a response, and what may come back. */
import { quoted, type Skips } from './reward.ts';
import type { Response } from './scorer.ts';

const HINT = 'It must give a finite number (or null, for no opinion) for each response, in their order.';

/** A response as JSON. */
export function outward({ prompt, messages, text, finish, fields }: Response): Record<string, unknown> {
  return { prompt, ...(messages && { messages }), text, finish, fields };
}

/** A program's answer for a response as a number, or null; anything else is skipped or thrown. */
export function checkedNumber(value: unknown, response: Response, skips: Skips): number | null {
  if (value === null) return null;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  const said = typeof value === 'number' ? String(value) : typeof value;
  return skips.skip(`gave ${said} instead of a number`, ` for the response ${quoted(response.text)}`, HINT);
}

/** The numbers of a batch, if there is one for each response. */
export function checkedNumbers(
  values: unknown,
  responses: readonly Response[],
  skips: Skips,
): (number | null)[] {
  if (Array.isArray(values) && values.length === responses.length)
    return responses.map((response, i) => checkedNumber(values[i], response, skips));
  const said = Array.isArray(values) ? `${values.length} numbers` : `${typeof values} instead of a list`;
  return skipAll(responses, skips, 'gave a wrong count', `: ${said} for ${responses.length} responses`);
}

/** Nothing about any of the responses. */
export function skipAll(
  responses: readonly Response[],
  skips: Skips,
  reason: string,
  detail: string,
  hint = HINT,
): null[] {
  skips.skip(reason, detail, hint, responses.length);
  return responses.map(() => null);
}
