/** A page about data in the terminal: facts, tables, histograms with bars, rows with what is marked in colour. Pure. */
import type { Page, Section, SectionOf } from '../../../proto/page.ts';
import { formatCompact, formatCount, formatMetric } from '../format.ts';
import { cellText, renderTable } from '../table.ts';
import { clean, displayWidth, pad, truncate, wrap } from '../text.ts';
import { type BlockOptions, title, wrapSpans } from './blocks.ts';

/** Lines of a row's text that are shown. */
const MAX_LINES = 12;
const MOST_BAR = 60;
const EIGHTHS = ' ▏▎▍▌▋▊▉█';

/** The lines of a page. */
export function renderPage(page: Page, options: BlockOptions): string[] {
  return page.sections.flatMap((section) => [
    title(section.title, options),
    ...(section.note === undefined
      ? []
      : wrap(section.note, options.width).map((line) => options.paint(line, 'dim'))),
    ...renderSection(section, options),
    '',
  ]);
}

function renderSection(section: Section, options: BlockOptions): string[] {
  switch (section.kind) {
    case 'facts':
      return facts(section, options);
    case 'table':
      return section.rows.length === 0
        ? [options.paint('(none)', 'dim')]
        : renderTable(section.columns, section.rows, options.width, options.paint);
    case 'histogram':
      return histogram(section, options);
    case 'rows':
      return section.rows.flatMap((row) => rowLines(row, options));
  }
}

function facts({ facts: all }: SectionOf<'facts'>, { width, paint }: BlockOptions): string[] {
  const nameWidth = Math.max(...all.map(({ name }) => displayWidth(clean(name))));
  return all.flatMap(({ name, value, note }) => {
    const shown = cellText(value);
    const head = `${paint(pad(clean(name), nameWidth), 'dim')}  `;
    const line = note === undefined ? `${head}${shown}` : `${head}${shown}  ${paint(clean(note), 'dim')}`;
    if (note === undefined || displayWidth(line) <= width) return [truncate(line, width)];
    // A note says how to mend something: what has no room beside the value stands below it in full.
    const below = wrap(clean(note), Math.max(10, width - nameWidth - 2));
    return [
      truncate(`${head}${shown}`, width),
      ...below.map((part) => ' '.repeat(nameWidth + 2) + paint(part, 'dim')),
    ];
  });
}

function histogram({ bins, summary, unit }: SectionOf<'histogram'>, options: BlockOptions): string[] {
  const { width, paint } = options;
  if (summary === null) return [paint('(nothing)', 'dim')];
  const labels = bins.map(({ from, to }) =>
    from === to ? formatCompact(from) : `${formatCompact(from)}–${formatCompact(to)}`,
  );
  const counts = bins.map(({ count }) => formatCount(count));
  const labelWidth = Math.max(...labels.map(displayWidth));
  const countWidth = Math.max(...counts.map((count) => count.length));
  const room = Math.max(4, Math.min(MOST_BAR, width - labelWidth - countWidth - 4));
  const most = Math.max(...bins.map(({ count }) => count));
  const lines = bins.map(
    ({ count }, i) =>
      `${paint(pad(labels[i]!, labelWidth, true), 'dim')}  ${pad(counts[i]!, countWidth, true)} ${paint(bar(count / most, room), 'blue')}`,
  );
  const figures = (['mean', 'min', 'p50', 'p90', 'p99', 'max'] as const).map(
    (name) => `${name} ${formatMetric(Math.round(summary[name]))}`,
  );
  return [
    ...lines.map((line) => line.trimEnd()),
    ...wrap(`${formatCount(summary.count)} counted, in ${unit}: ${figures.join(' · ')}`, width),
  ];
}

/** A bar of eighths; what is there at all is seen. */
function bar(share: number, room: number): string {
  const eighths = share === 0 ? 0 : Math.max(1, Math.round(share * room * 8));
  const part = eighths % 8;
  return '█'.repeat(Math.floor(eighths / 8)) + (part === 0 ? '' : EIGHTHS[part]!);
}

function rowLines(row: SectionOf<'rows'>['rows'][number], options: BlockOptions): string[] {
  const { width, paint, color } = options;
  const spans = row.spans.map(({ text, marked }) => ({
    text: marked && !color ? `[${clean(text)}]` : clean(text),
    scored: marked,
  }));
  const mark = (part: string, marked: boolean) => (marked && color ? paint(part, 'green', 'bold') : part);
  const lines = wrapSpans(spans, Math.max(10, width - 2), mark);
  const shown = lines.length > MAX_LINES ? [...lines.slice(0, MAX_LINES), paint('…', 'dim')] : lines;
  const label = row.label === undefined ? '' : `  ${clean(row.label)}`;
  return [
    ...wrap(`${clean(row.origin)}${label}`, width).map((line) => paint(line, 'dim')),
    ...shown.map((line) => paint('│ ', 'dim') + line),
  ];
}
