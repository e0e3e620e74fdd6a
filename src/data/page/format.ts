/** Numbers of a page about data, as a browser shows them. */

/** Whole numbers with their thousands apart, others with four figures, nothing as a dash. */
export function formatFact(value: string | number | null): string {
  if (value === null) return '–';
  if (typeof value === 'string') return value;
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString('en')
    : String(Number(value.toPrecision(4)));
}
