/** Aligned tables: columns of numbers to the right, others to the left, no frame, never wider than the terminal. */
import { formatCount, formatMetric } from './format.ts';
import { clean, displayWidth, type Paint, pad, truncate } from './text.ts';

export type Cell = string | number | null;

const GAP = '  ';

/** The lines of a table. Strings are shown as they are (cleaned), counts in full, other numbers by `formatMetric`, null as a dash. */
export function renderTable(columns: string[], rows: Cell[][], width: number, paint: Paint): string[] {
  const texts = rows.map((row) => columns.map((_, i) => cellText(row[i] ?? null)));
  const heads = columns.map((column) => clean(column));
  const right = columns.map(
    (_, i) =>
      rows.length > 0 &&
      rows.every((row) => typeof row[i] !== 'string') &&
      rows.some((row) => row[i] != null),
  );
  const room = width - GAP.length * (columns.length - 1);
  const widest = columns.map((_, i) => Math.max(0, ...texts.map((row) => displayWidth(row[i]!))));
  let headLines = heads.map((head) => [head]);
  let widths = heads.map((head, i) => Math.max(displayWidth(head), widest[i]!));
  if (sum(widths) > room) {
    // Heads of several words take several lines before anything is cut off.
    headLines = heads.map((head) => head.split(' '));
    widths = headLines.map((words, i) => Math.max(widest[i]!, ...words.map(displayWidth)));
    shrink(widths, room);
  }
  const height = Math.max(...headLines.map((lines) => lines.length));
  const line = (cells: string[]) =>
    cells
      .map((cell, i) => pad(truncate(cell, widths[i]!), widths[i]!, right[i]))
      .join(GAP)
      .trimEnd();
  const headRows = Array.from({ length: height }, (_, k) =>
    paint(line(headLines.map((lines) => lines[k - height + lines.length] ?? '')), 'bold'),
  );
  return [...headRows, ...texts.map(line)];
}

/** A cell on one line. */
export function cellText(cell: Cell): string {
  if (cell === null) return '-';
  if (typeof cell === 'number') return Number.isSafeInteger(cell) ? formatCount(cell) : formatMetric(cell);
  return clean(cell).replaceAll('\n', ' ');
}

/** Takes columns from the widest until the sum fits, down to 4 each. */
function shrink(widths: number[], room: number): void {
  let excess = sum(widths) - room;
  while (excess > 0) {
    const widest = widths.indexOf(Math.max(...widths));
    if (widths[widest]! <= 4) return;
    widths[widest]!--;
    excess--;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0);
}
