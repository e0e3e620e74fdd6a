/**
 * A page about data as one HTML file: no scripts, no other files, in the reader's light or dark colours. Everything
 * that comes from data is escaped.
 */
import type { Page, Section, SectionOf } from '../../../proto/page.ts';
import { formatFact } from './format.ts';
import { PAGE_STYLE } from './style.ts';

/** Text of the file. */
export function pageHtml(page: Page): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(page.title)}</title>
<style>${PAGE_STYLE}</style>
<main>
<h1>${escapeHtml(page.title)}</h1>
${page.sections.map(section).join('\n')}
</main>
</html>
`;
}

function section(of: Section): string {
  const note = of.note === undefined ? '' : `<p class="note">${escapeHtml(of.note)}</p>`;
  return `<section>\n<h2>${escapeHtml(of.title)}</h2>\n${note}${body(of)}\n</section>`;
}

function body(of: Section): string {
  switch (of.kind) {
    case 'facts':
      return facts(of);
    case 'table':
      return table(of);
    case 'histogram':
      return histogram(of);
    case 'rows':
      return rows(of);
  }
}

function facts({ facts: all }: SectionOf<'facts'>): string {
  const items = all.map(
    ({ name, value, note }) =>
      `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(formatFact(value))}</dd>${note === undefined ? '' : `<dd class="note">${escapeHtml(note)}</dd>`}</div>`,
  );
  return `<dl>${items.join('')}</dl>`;
}

/** Columns of numbers carry a bar behind each, as long as its share of the column's largest. */
function table({ columns, rows: lines }: SectionOf<'table'>): string {
  const largest = columns.map((_, i) =>
    Math.max(0, ...lines.map((line) => (typeof line[i] === 'number' ? Math.abs(line[i]) : 0))),
  );
  const cell = (value: string | number | null, i: number) => {
    if (typeof value !== 'number') return `<td>${escapeHtml(formatFact(value))}</td>`;
    const share = largest[i] === 0 ? 0 : Math.abs(value) / largest[i]!;
    return `<td class="number" style="--share:${(100 * share).toFixed(1)}%">${escapeHtml(formatFact(value))}</td>`;
  };
  const head = columns.map((column) => `<th>${escapeHtml(column)}</th>`).join('');
  const content = lines.map((line) => `<tr>${line.map(cell).join('')}</tr>`).join('\n');
  return `<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>\n${content}\n</tbody></table></div>`;
}

const BAR_WIDTH = 44;
const BAR_GAP = 4;
const PLOT_HEIGHT = 160;

/** Bars with their counts above and the lower end of each bin below. */
function histogram({ bins, unit, summary, title }: SectionOf<'histogram'>): string {
  if (summary === null) return '<p class="note">Nothing was counted.</p>';
  const most = Math.max(...bins.map(({ count }) => count));
  const width = bins.length * (BAR_WIDTH + BAR_GAP);
  const bars = bins.map(({ from, to, count }, i) => {
    const height = count === 0 ? 0 : Math.max(1, (PLOT_HEIGHT * count) / most);
    const x = i * (BAR_WIDTH + BAR_GAP);
    const middle = x + BAR_WIDTH / 2;
    const y = 16 + PLOT_HEIGHT - height;
    const span = from === to ? formatFact(from) : `${formatFact(from)} to ${formatFact(to)}`;
    return `<g><title>${span} ${escapeHtml(unit)}: ${formatFact(count)}</title><rect x="${x}" y="${y.toFixed(1)}" width="${BAR_WIDTH}" height="${height.toFixed(1)}"/><text x="${middle}" y="${(y - 4).toFixed(1)}">${short(count)}</text><text class="axis" x="${middle}" y="${PLOT_HEIGHT + 30}">${short(from)}</text></g>`;
  });
  const figures = (['mean', 'min', 'p50', 'p90', 'p99', 'max'] as const)
    .map((name) => `${name} ${formatFact(Math.round(summary[name]))}`)
    .join(' · ');
  return `<div class="wide"><svg role="img" aria-label="${escapeHtml(title)}" viewBox="0 0 ${width} ${PLOT_HEIGHT + 36}" width="${width}">${bars.join('')}</svg></div>
<p class="note">${formatFact(summary.count)} counted, in ${escapeHtml(unit)}: ${figures}</p>`;
}

function rows({ rows: all }: SectionOf<'rows'>): string {
  const items = all.map(({ origin, label, spans }) => {
    const text = spans
      .map((span) => (span.marked ? `<mark>${escapeHtml(span.text)}</mark>` : escapeHtml(span.text)))
      .join('');
    const said = label === undefined ? '' : `<span class="label">${escapeHtml(label)}</span>`;
    return `<figure><figcaption><code>${escapeHtml(origin)}</code>${said}</figcaption><pre>${text}</pre></figure>`;
  });
  return items.join('\n');
}

function short(value: number): string {
  return new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 }).format(value);
}

function escapeHtml(text: string): string {
  return text.replace(
    /[&<>"']/g,
    (char) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[char]!,
  );
}
