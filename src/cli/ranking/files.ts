/**
 * Labels as files. JSONL: a label a line. CSV: a line for each response of a label, with its rank (1 the best, equal
 * ranks for ties, `skip`), so that a spreadsheet can be filled in; a dataset row without labels gives lines with an
 * empty rank. Reading takes the columns row, response and rank; labeller and criterion may be given by the command.
 */
import { readFile } from 'node:fs/promises';
import type { CommandInput, CommandReply } from '../../../proto/commands.ts';
import { AnnealError } from '../../../proto/errors.ts';
import type { Client } from '../../client/client.ts';
import { writeFileAtomic } from '../../util/files.ts';

type Row = CommandReply<'rank.labels'>['rows'][number];
type ImportedLabel = CommandInput<'rank.import'>['labels'][number];

/** A label and where it stands in its file. */
interface Placed {
  label: ImportedLabel;
  place: string;
}

/** What a file may leave out. */
export interface Defaults {
  labeller: string;
  criterion: string | undefined;
}

/** A dataset, and how its rows are read. */
type Reading = Pick<CommandInput<'rank.labels'>, 'dataset' | 'settings'>;

const COLUMNS = ['row', 'labeller', 'criterion', 'label', 'response', 'rank', 'prompt', 'text'];
const PAGE = 500;
const FORM = 'The form is that which --export writes.';

/** Writes all labels of a dataset; returns how many. */
export async function exportLabels(client: Client, read: Reading, file: string): Promise<number> {
  const rows: Row[] = [];
  for (;;) {
    const page = await client.call('rank.labels', { ...read, from: rows.length, limit: PAGE });
    rows.push(...page.rows);
    if (page.rows.length === 0 || rows.length >= page.total) break;
  }
  const text = isCsv(file) ? await toCsv(rows) : rows.map(toJsonl).join('');
  await writeFileAtomic(file, text);
  return rows.reduce((sum, { labels }) => sum + labels.length, 0);
}

/** Reads labels from a file and hands them to the daemon; returns how many. */
export async function importLabels(
  client: Client,
  read: Reading,
  file: string,
  defaults: Defaults,
): Promise<number> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new AnnealError(
      cause.code === 'ENOENT' ? 'file_not_found' : 'file_unreadable',
      `${file} cannot be read: ${cause.message}.`,
      { path: file, cause },
    );
  });
  const placed = isCsv(file) ? await fromCsv(text, file, defaults) : fromJsonl(text, file, defaults);
  for (let from = 0; from < placed.length; from += PAGE) {
    const page = placed.slice(from, from + PAGE);
    await client
      .call('rank.import', { ...read, labels: page.map(({ label }) => label) })
      .catch((error: unknown) => {
        throw atPlace(error, page);
      });
  }
  return placed.length;
}

/** The daemon's error about one of the labels (`labels.3.row`) with its place in the file. */
function atPlace(error: unknown, page: readonly Placed[]): unknown {
  if (!(error instanceof AnnealError)) return error;
  const [, index] = /^labels\.(\d+)\./.exec(error.path ?? '') ?? [];
  const place = index === undefined ? undefined : page[Number(index)]?.place;
  if (place === undefined) return error;
  const problem = error.message.replace(/^.*?labels\.\d+(\.|: )/, '');
  // What the protocol's schema refuses is explained by the file's form.
  const hint = error.message.startsWith('rank.import') ? FORM : (error.hint ?? FORM);
  return new AnnealError(error.code, `${place}: ${problem}`, { path: place, hint, cause: error });
}

function isCsv(file: string): boolean {
  if (/\.csv$/i.test(file)) return true;
  if (/\.jsonl?$/i.test(file)) return false;
  throw new AnnealError('bad_request', `${file}: labels are read and written as .jsonl or .csv.`, {
    path: file,
    hint: 'Give the file one of these names.',
  });
}

function toJsonl({ prompt, responses, labels }: Row): string {
  return labels
    .map(
      (label) => `${JSON.stringify({ ...label, prompt, texts: label.of.map((i) => responses[i] ?? '') })}\n`,
    )
    .join('');
}

async function toCsv(rows: readonly Row[]): Promise<string> {
  const { stringify } = await import('csv-stringify/sync');
  const lines: (string | number)[][] = [];
  for (const { row, prompt, responses, labels } of rows) {
    const text = (response: number) => [prompt, responses[response] ?? ''];
    if (labels.length === 0)
      for (const response of responses.keys()) lines.push([row, '', '', '', response, '', ...text(response)]);
    for (const [number, { labeller, criterion, of, ranking }] of labels.entries()) {
      for (const response of of) {
        const rank = ranking === null ? 'skip' : ranking.findIndex((tier) => tier.includes(response)) + 1;
        lines.push([row, labeller, criterion, number, response, rank, ...text(response)]);
      }
    }
  }
  // What a model wrote must not become a formula of somebody's spreadsheet.
  return stringify([COLUMNS, ...lines], { escape_formulas: true });
}

function fromJsonl(text: string, file: string, defaults: Defaults): Placed[] {
  return text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .flatMap((line, i): Placed[] => {
      if (line.trim() === '') return [];
      const place = `${file}:${i + 1}`;
      try {
        const {
          row,
          labeller = defaults.labeller,
          criterion = defaults.criterion,
          of,
          ranking,
        } = JSON.parse(line);
        const named = of ?? (ranking as number[][] | null)?.flat().sort((a, b) => a - b);
        const label = {
          row: String(row),
          labeller,
          criterion: requireCriterion(criterion, place),
          of: named,
          ranking,
        };
        return [{ label, place }];
      } catch (cause) {
        if (cause instanceof AnnealError) throw cause;
        throw syntaxError(place, (cause as Error).message);
      }
    });
}

async function fromCsv(text: string, file: string, defaults: Defaults): Promise<Placed[]> {
  const { parse } = await import('csv-parse/sync');
  let header: string[] = [];
  let lines: Record<string, string>[];
  try {
    const columns = (names: string[]) => {
      header = names.map((name) => name.trim());
      return header;
    };
    const [first = ''] = text.split('\n', 1);
    // Where the comma is the decimal sign, spreadsheets write semicolons.
    const delimiter = first.includes(';') && !first.includes(',') ? ';' : ',';
    lines = parse(text, { columns, delimiter, bom: true, skip_empty_lines: true, trim: false });
  } catch (cause) {
    throw syntaxError(file, (cause as Error).message);
  }
  const missing = ['row', 'response', 'rank'].find((column) => !header.includes(column));
  if (missing !== undefined) throw syntaxError(file, `its first line names no column ${missing}`);
  const labels = new Map<string, Placed & { ranks: Map<number, number | 'skip'> }>();
  for (const [i, line] of lines.entries()) {
    const place = `${file}, line ${i + 2}`;
    const rank = line.rank!.trim();
    if (rank === '') continue;
    const labeller = line.labeller?.trim() || defaults.labeller;
    const criterion = requireCriterion(line.criterion?.trim() || defaults.criterion, place);
    const key = JSON.stringify([line.row, labeller, criterion, line.label ?? '']);
    const entry = labels.get(key) ?? {
      label: { row: line.row!, labeller, criterion, of: [], ranking: null },
      place,
      ranks: new Map(),
    };
    labels.set(key, entry);
    const response = wholeNumber(line.response!, 0, `${place}: response`);
    if (entry.ranks.has(response)) throw syntaxError(place, `response ${response} is ranked twice`);
    entry.ranks.set(response, rank === 'skip' ? 'skip' : wholeNumber(rank, 1, `${place}: rank`));
  }
  return [...labels.values()].map(({ label, place, ranks }) => {
    if (ranks.size < 2) throw syntaxError(place, 'it is the only response of its label');
    const of = [...ranks.keys()].sort((a, b) => a - b);
    const levels = [...new Set(ranks.values())].filter((rank) => rank !== 'skip').sort((a, b) => a - b);
    const tiers = levels.map((level) => of.filter((response) => ranks.get(response) === level));
    const ranking = tiers.flat().length === of.length ? tiers : null;
    return { label: { ...label, of, ranking }, place };
  });
}

function requireCriterion(criterion: string | undefined, place: string): string {
  if (criterion !== undefined) return criterion;
  throw new AnnealError('bad_request', `${place}: the label names no criterion.`, {
    path: place,
    hint: 'Fill in the criterion, or name one for all such labels: --criteria helpfulness.',
  });
}

function wholeNumber(text: string, least: number, place: string): number {
  const value = /^\s*\d+([.,]0*)?\s*$/.test(text) ? Number.parseInt(text, 10) : Number.NaN;
  if (value >= least) return value;
  throw syntaxError(place, `${JSON.stringify(text)} is not a whole number from ${least}`);
}

function syntaxError(place: string, problem: string): AnnealError {
  return new AnnealError('data_syntax', `${place}: ${problem}.`, {
    path: place,
    hint: FORM,
  });
}
