/**
 * What a program that rewards is: its settings, and how it is opened as a Scorer. One file a type exports one
 * `defineReward(...)`; `index.ts` lists them.
 */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { Response, Scorer } from './scorer.ts';

/** Settings that every type has beside its own. */
export const commonFields = {
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'a name is letters, digits, `.`, `_` and `-`')
    .optional()
    .describe('Its name in metrics and reports. Default: the type.'),
  weight: z.number().default(1).describe('Its factor in the sum of rewards.'),
  on_error: z
    .enum(['fail', 'skip'])
    .default('fail')
    .describe(
      'A response about which nothing can be said (a missing field, a program that fails): an error, or left out and counted.',
    ),
};

/** Seconds that what may take for ever is given. */
export const timeoutField = z.number().positive().max(86_400);

export interface CommonSettings {
  name?: string | undefined;
  weight: number;
  on_error: 'fail' | 'skip';
}

export interface RewardDefinition<Schema extends z.ZodType> {
  /** What it says of a response, for the docs. */
  doc: string;
  schema: Schema;
  /** Files that the settings name, so that their content enters an artifact's hash. */
  files?(settings: z.output<Schema>, baseDir: string): Promise<string[]>;
  open(settings: z.output<Schema>, baseDir: string): Promise<Scorer>;
}

/** Checks a definition's types. */
export function defineReward<Schema extends z.ZodType>(
  definition: RewardDefinition<Schema>,
): RewardDefinition<Schema> {
  return definition;
}

/** The name of a reward in metrics, reports and messages. */
export function rewardName(settings: CommonSettings & { type: string }): string {
  return settings.name ?? settings.type;
}

/** What becomes of responses about which nothing can be said: an error, or null and a count. */
export class Skips {
  readonly #name: string;
  readonly #policy: 'fail' | 'skip';
  /** How often, by reason. */
  readonly counts = new Map<string, number>();

  constructor(settings: CommonSettings & { type: string }) {
    this.#name = rewardName(settings);
    this.#policy = settings.on_error;
  }

  /** Null for `count` responses, with `skip`; otherwise the error. `reason` is what is counted, `detail` one case of it. */
  skip(reason: string, detail: string, hint: string, count = 1): null {
    if (this.#policy === 'fail') {
      throw new AnnealError('reward_invalid', `The reward ${this.#name} ${reason}${detail}.`, {
        path: `rewards.${this.#name}`,
        hint: `${hint} With on_error: skip such responses are left out and counted.`,
      });
    }
    this.counts.set(reason, (this.counts.get(reason) ?? 0) + count);
    return null;
  }
}

/** The values of a field of the response's row as texts; undefined where it has none. */
export function fieldTexts(response: Response, field: string): string[] | undefined {
  const values = [response.fields[field]].flat();
  const texts = values.filter((value) => typeof value === 'string' || typeof value === 'number').map(String);
  return texts.length > 0 && texts.length === values.length ? texts : undefined;
}

/** The skip of a response whose row lacks the field. */
export function skipWithoutField(skips: Skips, response: Response, field: string): null {
  return skips.skip(
    `found no text or number in the field ${field}`,
    ` of the row of ${quoted(response.prompt)}`,
    `Give each row of the dataset the field ${field}, or name another with field:.`,
  );
}

/** A text for a message: cut, on one line. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 79)}…` : text);
}

/** A scorer that looks at each response by itself. */
export function eachResponse(
  settings: CommonSettings & { type: string },
  skips: Skips,
  score: (response: Response) => number | null,
): Scorer {
  return {
    name: rewardName(settings),
    skipped: skips.counts,
    score: async (responses) => responses.map(score),
    close: async () => {},
  };
}
