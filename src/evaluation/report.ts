/** The table of an evaluation: a line for each model and group of rows, columns for what was measured. */
import type { EventBody } from '../../proto/events.ts';
import { containsAnswer, isExactMatch } from './match.ts';
import type { Outcome } from './outcome.ts';
import type { ModelOverlap } from './overlap.ts';
import { type EvaluationRow, questionText } from './rows.ts';

type Report = EventBody<'report'>;
type Cell = Report['rows'][number][number];

export interface ReportSettings {
  group_by?: string | undefined;
  rates: Record<string, string>;
  /** Shown for each group. */
  examples: number;
}

/** Columns, rows and examples of the report, and the rows again without those that are contaminated. */
export function reportTable(
  rows: readonly EvaluationRow[],
  outcomes: ReadonlyMap<string, readonly Outcome[]>,
  settings: ReportSettings,
  overlaps: ReadonlyMap<string, Pick<ModelOverlap, 'contaminated'>>,
): Pick<Report, 'columns' | 'rows' | 'examples'> & { others: Cell[][] } {
  const groups = groupRows(rows, settings.group_by);
  const asked = rows.some((row) => row.question !== undefined);
  const texts = rows.some((row) => row.text !== undefined);
  const columns = [
    'model',
    ...(settings.group_by === undefined ? [] : [settings.group_by]),
    'rows',
    ...(asked ? ['exact_match', 'contains', ...Object.keys(settings.rates)] : []),
    ...(texts ? ['perplexity', 'bits_per_byte'] : []),
  ];
  const lines = (model: string, of: readonly Outcome[], counts: (i: number) => boolean): Cell[][] =>
    [...groups].map(([group, all]) => {
      const members = all.filter(counts);
      return [
        model,
        ...(settings.group_by === undefined ? [] : [group]),
        members.length,
        ...(asked ? answerCells(rows, of, members, settings) : []),
        ...(texts ? likelihoodCells(of, members) : []),
      ];
    });
  const others = [...outcomes].flatMap(([model, of]) => {
    const { contaminated } = overlaps.get(model)!;
    return contaminated.includes(true) ? lines(model, of, (i) => !contaminated[i]) : [];
  });
  return {
    columns,
    rows: [...outcomes].flatMap(([model, of]) => lines(model, of, () => true)),
    others,
    examples: examples(rows, outcomes, groups, settings.examples),
  };
}

/** The report as a page. */
export function reportMarkdown(report: Report): string {
  const cell = (value: Cell) =>
    (typeof value === 'number' ? formatNumber(value) : (value ?? '')).replaceAll('|', '\\|');
  const line = (cells: readonly Cell[]) => `| ${cells.map(cell).join(' | ')} |`;
  const table = (lines: readonly Cell[][]) =>
    [line(report.columns), line(report.columns.map(() => '---')), ...lines.map(line)].join('\n');
  const quote = (text: string) => text.trim().replaceAll('\n', '\n> ');
  const shown = report.examples.map(
    ({ prompt, expected, outputs }) =>
      `**${prompt.trim()}**${expected === '' ? '' : ` (${expected})`}\n\n${Object.entries(outputs)
        .map(([model, output]) => `> *${model}*: ${quote(output)}\n`)
        .join('>\n')}`,
  );
  return [
    `# ${report.title}`,
    table(report.rows),
    ...(report.overlap ? overlapMarkdown(report.overlap, table) : []),
    ...(shown.length > 0 ? ['## Examples', ...shown] : []),
    '',
  ].join('\n\n');
}

function overlapMarkdown(
  { models, others, hint }: NonNullable<Report['overlap']>,
  table: (lines: readonly Cell[][]) => string,
): string[] {
  return [
    '## Overlap with training data',
    models.map(({ model, text }) => `- *${model}*: ${text}`).join('\n'),
    ...(others.length > 0 ? ['Scores on the rows that are not contaminated:', table(others)] : []),
    ...(hint === undefined ? [] : [hint]),
  ];
}

function formatNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toPrecision(4);
}

/** Row indices of each value of the field, in the order of appearance; `all` where nothing is grouped. */
function groupRows(rows: readonly EvaluationRow[], field: string | undefined): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  rows.forEach((row, i) => {
    const value = field === undefined ? 'all' : String(row.fields[field] ?? '-');
    const members = groups.get(value);
    if (members) members.push(i);
    else groups.set(value, [i]);
  });
  return groups;
}

/** Shares from 0 to 1. */
function answerCells(
  rows: readonly EvaluationRow[],
  outcomes: readonly Outcome[],
  members: readonly number[],
  settings: ReportSettings,
): Cell[] {
  const asked = members.filter((i) => outcomes[i]!.output !== undefined);
  const share = (test: (i: number) => boolean) =>
    asked.length === 0 ? null : asked.filter(test).length / asked.length;
  return [
    share((i) => isExactMatch(outcomes[i]!.output!, rows[i]!.answers)),
    share((i) => containsAnswer(outcomes[i]!.output!, rows[i]!.answers)),
    ...Object.values(settings.rates).map((source) => {
      const pattern = new RegExp(source, 'u');
      return share((i) => pattern.test(outcomes[i]!.output!));
    }),
  ];
}

function likelihoodCells(outcomes: readonly Outcome[], members: readonly number[]): Cell[] {
  let loss = 0;
  let tokens = 0;
  let bytes = 0;
  for (const i of members) {
    const { likelihood } = outcomes[i]!;
    loss += likelihood?.loss ?? 0;
    tokens += likelihood?.tokens ?? 0;
    bytes += likelihood?.bytes ?? 0;
  }
  return tokens === 0 ? [null, null] : [Math.exp(loss / tokens), loss / Math.LN2 / bytes];
}

/** The first questions of each group with what each model said. */
function examples(
  rows: readonly EvaluationRow[],
  outcomes: ReadonlyMap<string, readonly Outcome[]>,
  groups: ReadonlyMap<string, readonly number[]>,
  count: number,
): Report['examples'] {
  return [...groups.values()].flatMap((members) =>
    members
      .filter((i) => rows[i]!.question !== undefined)
      .slice(0, count)
      .map((i) => {
        const question = rows[i]!.question!;
        return {
          prompt: questionText(question),
          expected: rows[i]!.answers.join(' / '),
          outputs: Object.fromEntries([...outcomes].map(([model, of]) => [model, of[i]!.output ?? ''])),
        };
      }),
  );
}
