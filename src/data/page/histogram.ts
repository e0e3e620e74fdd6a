/**
 * Lengths counted in bounded memory: eight bins to an octave, so that a quantile is right to within a tenth whatever
 * the lengths, and what is drawn is an octave a bin.
 */
import type { SectionOf } from '../../../proto/page.ts';

const BINS_PER_OCTAVE = 8;
/** Bin 0 counts zeros; lengths up to 2^53 follow. */
const BINS = 1 + 53 * BINS_PER_OCTAVE;

/** As stored between the units of a pipeline. */
export interface StoredHistogram {
  /** Counts of the bins in use, by bin. */
  bins: [bin: number, count: number][];
  sum: number;
  min: number;
  max: number;
}

export class LengthHistogram {
  readonly #counts = new Float64Array(BINS);
  #sum = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = 0;
  count = 0;

  static from(stored: StoredHistogram): LengthHistogram {
    const histogram = new LengthHistogram();
    histogram.merge(stored);
    return histogram;
  }

  /** Counts a length: a whole number from 0. */
  add(length: number, times = 1): void {
    this.#counts[binOf(length)]! += times;
    this.count += times;
    this.#sum += length * times;
    this.#min = Math.min(this.#min, length);
    this.#max = Math.max(this.#max, length);
  }

  merge(other: StoredHistogram): void {
    for (const [bin, count] of other.bins) {
      this.#counts[bin]! += count;
      this.count += count;
    }
    if (other.bins.length === 0) return;
    this.#sum += other.sum;
    this.#min = Math.min(this.#min, other.min);
    this.#max = Math.max(this.#max, other.max);
  }

  stored(): StoredHistogram {
    const bins = [...this.#counts.entries()].filter(([, count]) => count > 0);
    return { bins, sum: this.#sum, min: this.count === 0 ? 0 : this.#min, max: this.#max };
  }

  /** The length that a share of all does not exceed; to within a tenth. */
  quantile(share: number): number {
    let left = share * this.count;
    for (const [bin, count] of this.#counts.entries()) {
      if (count === 0) continue;
      left -= count;
      if (left <= 0) return Math.min(Math.max(Math.round(middleOf(bin)), this.#min), this.#max);
    }
    return this.#max;
  }

  section(title: string, unit: string, note?: string): SectionOf<'histogram'> {
    return {
      kind: 'histogram',
      title,
      ...(note === undefined ? {} : { note }),
      unit,
      bins: this.#octaves(),
      summary:
        this.count === 0
          ? null
          : {
              count: this.count,
              mean: this.#sum / this.count,
              min: this.#min,
              p50: this.quantile(0.5),
              p90: this.quantile(0.9),
              p99: this.quantile(0.99),
              max: this.#max,
            },
    };
  }

  /** Octaves from the first that has something to the last, those between included. */
  #octaves(): SectionOf<'histogram'>['bins'] {
    const octaves = new Map<number, number>();
    for (const [bin, count] of this.#counts.entries()) {
      if (count === 0) continue;
      const octave = bin === 0 ? -1 : Math.floor((bin - 1) / BINS_PER_OCTAVE);
      octaves.set(octave, (octaves.get(octave) ?? 0) + count);
    }
    if (octaves.size === 0) return [];
    const [first, last] = [Math.min(...octaves.keys()), Math.max(...octaves.keys())];
    return Array.from({ length: last - first + 1 }, (_, i) => {
      const octave = first + i;
      const count = octaves.get(octave) ?? 0;
      return octave < 0 ? { from: 0, to: 0, count } : { from: 2 ** octave, to: 2 ** (octave + 1) - 1, count };
    });
  }
}

/** 0 for 0; else 1 and up, exact at powers of two, where floating-point logarithms need not be. */
function binOf(length: number): number {
  if (length < 1) return 0;
  const octave = Math.floor(Math.log2(length + 0.5));
  const within = Math.floor((length / 2 ** octave - 1) * BINS_PER_OCTAVE);
  return 1 + octave * BINS_PER_OCTAVE + Math.min(Math.max(within, 0), BINS_PER_OCTAVE - 1);
}

function middleOf(bin: number): number {
  if (bin === 0) return 0;
  const octave = Math.floor((bin - 1) / BINS_PER_OCTAVE);
  const within = (bin - 1) % BINS_PER_OCTAVE;
  return 2 ** octave * (1 + (within + 0.5) / BINS_PER_OCTAVE);
}
