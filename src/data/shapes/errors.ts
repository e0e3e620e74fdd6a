/** Rows that do not fit, as errors that know their place: what a stage throws, or keeps aside and counts. */
import { AnnealError } from '../../../proto/errors.ts';

type RowCode =
  | 'data_field'
  | 'data_syntax'
  | 'data_encoding'
  | 'template_invalid'
  | 'template_changes_answer';

/** What is wrong with a row, and where. */
export class RowError extends AnnealError {
  /** `file:12` */
  readonly origin: string;
  /** The field that is to blame; undefined where the row cannot be read at all. */
  readonly field: string | undefined;
  /** Goes on from the place: `must be text, is null`. */
  readonly problem: string;

  constructor(
    code: RowCode,
    origin: string,
    field: string | undefined,
    problem: string,
    more: { hint?: string | undefined; cause?: unknown } = {},
  ) {
    const message = field === undefined ? `${origin} ${problem}` : `${origin}: field ${field} ${problem}`;
    super(code, message.endsWith('.') ? message : `${message}.`, {
      path: field === undefined ? origin : `${origin}:${field}`,
      ...(more.hint === undefined ? {} : { hint: more.hint }),
      ...(more.cause === undefined ? {} : { cause: more.cause }),
    });
    this.origin = origin;
    this.field = field;
    this.problem = problem;
  }
}

/** What was thrown about a row as its error: a template's refusal, or change, is about the row that it renders. */
export function rowErrorOf(error: unknown, origin: string): RowError {
  if (error instanceof RowError) return error;
  if (!(error instanceof AnnealError)) throw error;
  if (error.code !== 'template_invalid' && error.code !== 'template_changes_answer') throw error;
  return new RowError(error.code, origin, undefined, `cannot be used: ${error.message}`, {
    hint: error.hint,
    cause: error,
  });
}

/** Makes the error of a field, in the place that a parser is at. */
export type Fail = (field: string, problem: string) => RowError;

/** What a value is, for messages. */
export function describe(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (value === '') return 'empty';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
