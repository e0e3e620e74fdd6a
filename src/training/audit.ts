/**
 * The audit before step 0: what would be trained, counted, shown and refused when it cannot be what is meant. Every
 * count is by position; no token id decides what is scored.
 */
import { AnnealError } from '../../proto/errors.ts';
import type { EventBody } from '../../proto/events.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** A row: ids and which of them are scored. */
export interface AuditedRow {
  ids: Int32Array;
  /** 1: scored. undefined: all but the first. */
  scored: Uint8Array | undefined;
  origin: string;
}

export interface AuditRules<Row extends AuditedRow = AuditedRow> {
  stage: string;
  /** Rows longer than this are too long: an error unless the recipe's `too_long` says what becomes of them. */
  maxLength: number;
  tooLong: string | undefined;
  /** The values that `too_long` can have. */
  tooLongChoices: readonly string[];
  /** What is trained of a row that is too long; all of it unless given. */
  fit?: ((row: Row) => readonly AuditedRow[]) | undefined;
  /** Tokens that end a text or a turn: EOS, and special tokens that close an answer. */
  endIds: ReadonlySet<number>;
}

const EXAMPLES = 3;
/** Rows that are too long and named. */
const NAMED_TOO_LONG = 10;
/** Tokens of an example that are shown. */
const EXAMPLE_TOKENS = 256;

/** Goes through all rows and counts what is trained of them; throws the first reason to refuse. */
export function auditRows<Row extends AuditedRow>(
  rows: Iterable<Row>,
  tokenizer: Pick<Tokenizer, 'bosId' | 'eosId' | 'decode'>,
  rules: AuditRules<Row>,
): EventBody<'audit'> {
  const report: EventBody<'audit'> = {
    stage: rules.stage,
    rows: 0,
    tokens: 0,
    scored_tokens: 0,
    bos: 0,
    eos: 0,
    scored_eos: 0,
    too_long: 0,
    examples: [],
  };
  let doubled: { origin: string } | undefined;
  const tooLong: string[] = [];
  let unscored = 0;
  let dropped = 0;
  for (const row of rows) {
    const { ids, scored, origin } = row;
    report.rows += 1;
    const before = report.scored_tokens;
    const trained = ids.length > rules.maxLength && rules.fit ? rules.fit(row) : [row];
    for (const piece of trained) countTokens(piece, tokenizer, rules.endIds, report);
    if (trained.length === 0) dropped += 1;
    else if (report.scored_tokens === before) unscored += 1;
    if (tokenizer.bosId !== undefined && ids[0] === tokenizer.bosId && ids[1] === tokenizer.bosId) {
      doubled ??= { origin };
    }
    if (ids.length > rules.maxLength) {
      report.too_long += 1;
      if (tooLong.length < NAMED_TOO_LONG) tooLong.push(`${origin} (${ids.length})`);
    }
    if (report.examples.length < EXAMPLES)
      report.examples.push({ row: origin, spans: tokenSpans(ids, scored, tokenizer) });
  }
  const settings = `stages.${rules.stage}`;
  if (report.rows === 0) {
    throw new AnnealError('data_empty', `${rules.stage}: the dataset has no rows.`, {
      path: `${settings}.dataset`,
    });
  }
  if (tooLong.length > 0 && rules.tooLong === undefined) {
    const more = report.too_long - tooLong.length;
    throw new AnnealError(
      'data_row_too_long',
      `${rules.stage}: ${report.too_long} of ${report.rows} rows have more tokens than max_length leaves room for (${rules.maxLength}): ${tooLong.join(', ')}${more > 0 ? ` and ${more} more` : ''}.`,
      {
        path: `${settings}.max_length`,
        hint: `Raise max_length, or set too_long to ${listed(rules.tooLongChoices)}.`,
      },
    );
  }
  const refuse = (what: string, hint: string, path: string) => {
    throw new AnnealError('audit_refused', `${rules.stage}: ${what}`, { hint, path: `${settings}.${path}` });
  };
  if (report.scored_tokens === 0) {
    refuse(
      'no token of the dataset is scored; nothing would be learnt.',
      'Check the roles and fields of the rows.',
      'dataset',
    );
  }
  if (doubled) {
    refuse(
      `rows begin with two BOS tokens (the first is ${doubled.origin}).`,
      'Take the BOS out of the text or of the chat template.',
      'dataset',
    );
  }
  if (report.scored_eos === 0) {
    refuse(
      'no token that ends a text is scored; the model would never learn to stop.',
      report.too_long > 0 && rules.tooLong === 'truncate'
        ? 'All answers are cut off before their end: raise max_length, or set too_long to drop or split.'
        : 'Let the chat template close the answer with the EOS token, inside of what is scored.',
      'dataset',
    );
  }
  const skipped = {
    ...(dropped > 0 && { 'longer than max_length': dropped }),
    ...(unscored > 0 && { 'nothing in them is scored': unscored }),
  };
  return Object.keys(skipped).length === 0 ? report : { ...report, skipped };
}

/** Adds the tokens of a row, or of a piece of one; nothing predicts the first. */
function countTokens(
  { ids, scored }: AuditedRow,
  tokenizer: Pick<Tokenizer, 'bosId' | 'eosId'>,
  endIds: ReadonlySet<number>,
  report: EventBody<'audit'>,
): void {
  report.tokens += ids.length;
  for (let i = 0; i < ids.length; i++) {
    const counts = i > 0 && (scored === undefined || scored[i] === 1);
    if (counts) report.scored_tokens += 1;
    if (ids[i] === tokenizer.bosId) report.bos += 1;
    if (ids[i] === tokenizer.eosId) report.eos += 1;
    if (counts && endIds.has(ids[i]!)) report.scored_eos += 1;
  }
}

function listed(choices: readonly string[]): string {
  return choices.length < 3
    ? choices.join(' or ')
    : `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`;
}

/** Runs of scored and unscored tokens as text; the first EXAMPLE_TOKENS tokens. */
export function tokenSpans(
  ids: Int32Array,
  scored: Uint8Array | undefined,
  tokenizer: Pick<Tokenizer, 'decode'>,
): EventBody<'audit'>['examples'][number]['spans'] {
  const result: { ids: number[]; scored: boolean }[] = [];
  for (let i = 0; i < Math.min(ids.length, EXAMPLE_TOKENS); i++) {
    const counts = scored === undefined ? i > 0 : scored[i] === 1;
    const last = result.at(-1);
    if (last && last.scored === counts) last.ids.push(ids[i]!);
    else result.push({ ids: [ids[i]!], scored: counts });
  }
  return result.map((span) => ({ text: tokenizer.decode(span.ids), scored: span.scored }));
}
