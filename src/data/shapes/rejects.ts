/**
 * Rows that do not fit, kept aside: each a line of `rejected.jsonl` with its file, row, field and what is wrong,
 * counted, and too many of them an error. Without a word in the recipe the first one is an error.
 */
import { appendFile } from 'node:fs/promises';
import { AnnealError } from '../../../proto/errors.ts';
import { asFileError } from '../../util/files.ts';
import type { RowError } from './errors.ts';

/** In the folder of a result, whose files the store of artifacts makes durable. */
export const REJECTED_FILE = 'rejected.jsonl';

/** Rows after which a share is looked at before all have been read. */
const CHECK_ROWS = 10_000;
const FIRST = 3;
const BUFFER_LINES = 1_000;

export interface RejectRules {
  /** Stage, as messages name it. */
  stage: string;
  /** Setting that names the data. */
  setting: string;
  /** Share of the rows that may be set aside. */
  maxRejected: number;
  /** The file that they are written to; undefined: they are counted only. */
  path?: string | undefined;
}

export class Rejects {
  readonly #rules: RejectRules;
  readonly #first: string[] = [];
  #lines: string[] = [];
  #rows = 0;
  #rejected = 0;

  constructor(rules: RejectRules) {
    this.#rules = rules;
  }

  /** Rows that were looked at, and of these those that did not fit. */
  get rows(): number {
    return this.#rows;
  }
  get rejected(): number {
    return this.#rejected;
  }

  /** Counts a row that fits. */
  fits(): void {
    this.#rows += 1;
  }

  /** Sets a row aside; `content` is the row as it was read. Where there are too many already, it throws. */
  async reject(error: RowError, content: unknown): Promise<void> {
    if (this.#rules.maxRejected === 0) throw error;
    this.#rows += 1;
    this.#rejected += 1;
    if (this.#first.length < FIRST) this.#first.push(error.message.replace(/\.$/, ''));
    if (this.#rules.path !== undefined) this.#lines.push(rejectedLine(error, content));
    if (this.#lines.length >= BUFFER_LINES) await this.#flush();
    if (this.#rows >= CHECK_ROWS) this.#check();
  }

  /** Writes what is left, and throws where too many rows do not fit. */
  async finish(): Promise<void> {
    await this.#flush();
    this.#check();
  }

  /** What was set aside, for people; undefined where nothing was. */
  describe(): string | undefined {
    if (this.#rejected === 0) return undefined;
    const where = this.#rules.path === undefined ? 'left out' : `kept aside in ${REJECTED_FILE}`;
    const verb = this.#rejected === 1 ? 'does' : 'do';
    return `${this.#rejected} of ${this.#rows} rows ${verb} not fit, ${where}: ${this.#first.join('; ')}${this.#rejected > FIRST ? '; ...' : ''}`;
  }

  #check(): void {
    const { maxRejected, stage, setting } = this.#rules;
    if (this.#rejected <= maxRejected * this.#rows) return;
    const share = `${((100 * this.#rejected) / this.#rows).toPrecision(2)}%`;
    throw new AnnealError(
      'data_rejected',
      `${stage}: ${this.#rejected} of ${this.#rows} rows of ${setting} do not fit (${share}, max_rejected allows ${100 * maxRejected}%): ${this.#first.join('; ')}.`,
      {
        path: `stages.${stage}.${setting}`,
        hint: 'Mend the rows, name their fields in `fields`, leave them out with `where`, or raise max_rejected.',
      },
    );
  }

  async #flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    const { path } = this.#rules;
    try {
      await appendFile(path!, this.#lines.join(''));
    } catch (error) {
      throw asFileError(error, path!);
    }
    this.#lines = [];
  }
}

const EXCERPT = 500;

/** A line of rejected.jsonl. */
export function rejectedLine(error: RowError, content: unknown): string {
  const { origin, field, problem, code } = error;
  const row = typeof content === 'string' ? content : jsonOf(content);
  const excerpt = row.length > EXCERPT ? `${row.slice(0, EXCERPT)}...` : row;
  return `${JSON.stringify({ row: origin, ...(field === undefined ? {} : { field }), problem, code, excerpt })}\n`;
}

/** JSON of whatever a file's columns hold. */
function jsonOf(value: unknown): string {
  try {
    return (
      JSON.stringify(value, (_, member: unknown) => (typeof member === 'bigint' ? `${member}` : member)) ?? ''
    );
  } catch {
    return String(value);
  }
}
