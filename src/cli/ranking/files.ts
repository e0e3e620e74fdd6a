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

/** What a file may leave out. */
export interface Defaults {
  labeller: string;
  criterion: string | undefined;
}

const COLUMNS = ['row', 'labeller', 'criterion', 'label', 'response', 'rank', 'prompt', 'text'];
const PAGE = 500;

/** Writes all labels of a dataset; returns how many. */
export async function exportLabels(client: Client, dataset: string, file: string): Promise<number> {
  const rows: Row[] = [];
  for (;;) {
    const page = await client.call('rank.labels', { dataset, from: rows.length, limit: PAGE });
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
  dataset: string,
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
  const labels = isCsv(file) ? await fromCsv(text, file, defaults) : fromJsonl(text, file, defaults);
  for (let from = 0; from < labels.length; from += PAGE)
    await client.call('rank.import', { dataset, labels: labels.slice(from, from + PAGE) });
  return labels.length;
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

function fromJsonl(text: string, file: string, defaults: Defaults): ImportedLabel[] {
  return text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return [];
    try {
      const {
        row,
        labeller = defaults.labeller,
        criterion = defaults.criterion,
        of,
        ranking,
      } = JSON.parse(line);
      const named = of ?? (ranking as number[][] | null)?.flat().sort((a, b) => a - b);
      return [
        {
          row: String(row),
          labeller,
          criterion: requireCriterion(criterion, `${file}:${i + 1}`),
          of: named,
          ranking,
        },
      ];
    } catch (cause) {
      if (cause instanceof AnnealError) throw cause;
      throw syntaxError(`${file}:${i + 1}`, (cause as Error).message);
    }
  });
}

async function fromCsv(text: string, file: string, defaults: Defaults): Promise<ImportedLabel[]> {
  const { parse } = await import('csv-parse/sync');
  let lines: Record<string, string>[];
  try {
    lines = parse(text, { columns: true, bom: true, skip_empty_lines: true, trim: false });
  } catch (cause) {
    throw syntaxError(file, (cause as Error).message);
  }
  const missing = ['row', 'response', 'rank'].find(
    (column) => lines[0] !== undefined && !(column in lines[0]),
  );
  if (missing !== undefined) throw syntaxError(file, `it has no column ${missing}`);
  const labels = new Map<string, { label: ImportedLabel; ranks: Map<number, number | 'skip'> }>();
  for (const [i, line] of lines.entries()) {
    const place = `${file}, line ${i + 2}`;
    const rank = line.rank!.trim();
    if (rank === '') continue;
    const labeller = line.labeller?.trim() || defaults.labeller;
    const criterion = requireCriterion(line.criterion?.trim() || defaults.criterion, place);
    const key = JSON.stringify([line.row, labeller, criterion, line.label ?? '']);
    const entry = labels.get(key) ?? {
      label: { row: line.row!, labeller, criterion, of: [], ranking: null },
      ranks: new Map(),
    };
    labels.set(key, entry);
    const response = wholeNumber(line.response!, 0, `${place}: response`);
    if (entry.ranks.has(response)) throw syntaxError(place, `response ${response} is ranked twice`);
    entry.ranks.set(response, rank === 'skip' ? 'skip' : wholeNumber(rank, 1, `${place}: rank`));
  }
  return [...labels.values()].map(({ label, ranks }) => {
    const of = [...ranks.keys()].sort((a, b) => a - b);
    const levels = [...new Set(ranks.values())].filter((rank) => rank !== 'skip').sort((a, b) => a - b);
    const tiers = levels.map((level) => of.filter((response) => ranks.get(response) === level));
    return { ...label, of, ranking: tiers.flat().length === of.length ? tiers : null };
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
  const value = /^\s*\d+\s*$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least) return value;
  throw syntaxError(place, `${JSON.stringify(text)} is not a whole number from ${least}`);
}

function syntaxError(place: string, problem: string): AnnealError {
  return new AnnealError('data_syntax', `${place}: ${problem}.`, {
    path: place,
    hint: 'The form is that which --export writes.',
  });
}
