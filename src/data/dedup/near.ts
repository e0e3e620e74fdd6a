/**
 * Bands and rows of MinHash signatures. Documents of similarity s share a band of r hashes with probability s^r, so
 * at least one of b bands with 1 - (1 - s^r)^b: an S-shaped curve that bands and rows put at the threshold.
 */
import type { NearOptions } from '../../native/addon.ts';
import type { NearSettings } from './settings.ts';

/** What the fingerprinter is asked for. */
export function nearOptions(settings: NearSettings): NearOptions {
  const { unit, shingle, permutations, threshold, seed, scheme, verify } = settings;
  const { bands, rows } =
    settings.bands === undefined
      ? optimalBands(threshold, permutations)
      : { bands: settings.bands, rows: settings.rows! };
  return { unit, shingle, permutations, bands, rows, seed, scheme, signatures: verify };
}

interface Bands {
  bands: number;
  rows: number;
}

/** The probability that documents of this similarity become candidates. */
export function candidateProbability(similarity: number, { bands, rows }: Bands): number {
  return 1 - (1 - similarity ** rows) ** bands;
}

/**
 * The bands and rows whose false positives (the area under the curve below the threshold) and false negatives (above
 * the curve, from the threshold on) are least in sum; of equals those of fewer bands, then fewer rows. The rule of
 * datasketch with its default weights.
 */
export function optimalBands(threshold: number, permutations: number): Bands {
  const key = `${threshold} ${permutations}`;
  const known = found.get(key) ?? searchBands(threshold, permutations);
  found.set(key, known);
  return known;
}

/** Of earlier calls: a search takes tens of milliseconds. */
const found = new Map<string, Bands>();

function searchBands(threshold: number, permutations: number): Bands {
  let best = { bands: 1, rows: 1 };
  let least = Number.POSITIVE_INFINITY;
  for (let bands = 1; bands <= permutations; bands++) {
    for (let rows = 1; rows * bands <= permutations; rows++) {
      const positive = integral((s) => candidateProbability(s, { bands, rows }), 0, threshold);
      const negative = integral((s) => (1 - s ** rows) ** bands, threshold, 1);
      const error = (positive + negative) / 2;
      if (error < least) {
        least = error;
        best = { bands, rows };
      }
    }
  }
  return best;
}

/** Gauss-Legendre quadrature of four points in each of 64 intervals. */
function integral(f: (x: number) => number, from: number, to: number): number {
  const points = [
    [0.339981043584856, 0.652145154862546],
    [0.861136311594053, 0.347854845137454],
  ] as const;
  const half = (to - from) / 128;
  let sum = 0;
  for (let i = 0; i < 64; i++) {
    const middle = from + (2 * i + 1) * half;
    for (const [x, weight] of points) sum += weight * (f(middle - x * half) + f(middle + x * half));
  }
  return sum * half;
}
