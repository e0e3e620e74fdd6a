/**
 * Krippendorff's alpha: how far observers agree beyond chance, for any number of them and with values missing
 * (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability). 1: perfect, 0: as by chance, below: they oppose.
 */

/** How far apart two values are: `nominal` the same or not, `ordinal` by how many values lie between them. */
export type Metric = 'nominal' | 'ordinal';

/**
 * Alpha of values by unit and observer, null where an observer said nothing. Undefined where no unit has two values,
 * or all values are the same: there is nothing to agree about.
 */
export function krippendorffAlpha(
  units: readonly (readonly (number | null)[])[],
  metric: Metric,
): number | undefined {
  const pairable = units
    .map((unit) => unit.filter((value) => value !== null))
    .filter((unit) => unit.length >= 2);
  const values = [...new Set(pairable.flat())].sort((a, b) => a - b);
  const place = new Map(values.map((value, i) => [value, i]));
  // Coincidences: pairs of values within units, each unit counted as often as it has values.
  const coincidences = values.map(() => values.map(() => 0));
  for (const unit of pairable) {
    for (const [i, a] of unit.entries()) {
      for (const [j, b] of unit.entries()) {
        if (i !== j) coincidences[place.get(a)!]![place.get(b)!]! += 1 / (unit.length - 1);
      }
    }
  }
  const totals = coincidences.map((row) => row.reduce((sum, count) => sum + count, 0));
  const n = totals.reduce((sum, count) => sum + count, 0);
  const distance = (c: number, k: number): number => {
    if (metric === 'nominal') return c === k ? 0 : 1;
    let between = 0;
    for (let g = Math.min(c, k); g <= Math.max(c, k); g++) between += totals[g]!;
    return c === k ? 0 : (between - (totals[c]! + totals[k]!) / 2) ** 2;
  };
  let observed = 0;
  let expected = 0;
  for (const [c, row] of coincidences.entries()) {
    for (const [k, count] of row.entries()) {
      observed += count * distance(c, k);
      expected += totals[c]! * totals[k]! * distance(c, k);
    }
  }
  return expected === 0 ? undefined : 1 - ((n - 1) * observed) / expected;
}
