/**
 * What the policy-gradient objectives share: the clipped surrogate of one importance ratio, and the sums behind its
 * metrics. A loss here is to be minimised.
 */

/** The ratio is held within [1 - low, 1 + high]. */
export interface ClipRange {
  low: number;
  high: number;
  /** Highest ratio of the unclipped side too (two-sided clipping, INTELLECT-2); undefined: none. */
  delta?: number | undefined;
}

export interface Surrogate {
  loss: number;
  /** Derivative of the loss with respect to the logarithm of the ratio. */
  slope: number;
  /** The ratio has left the range on the side where the advantage pushes it farther out. */
  low: boolean;
  high: boolean;
}

/**
 * PPO's surrogate (Schulman et al. 2017, equation 7) as a loss: -min(r A, clip(r) A) with r = exp(logRatio).
 */
export function clippedSurrogate(logRatio: number, advantage: number, clip: ClipRange): Surrogate {
  const ratio = Math.exp(logRatio);
  const bounded = Math.min(Math.max(ratio, 1 - clip.low), 1 + clip.high);
  const free = Math.min(ratio, clip.delta ?? Infinity);
  const inner = free * advantage;
  const outer = bounded * advantage;
  // Where both sides are equal they have the same slope: the ratio is then inside of all bounds.
  const held = inner <= outer ? free < ratio : bounded !== ratio;
  return {
    loss: -Math.min(inner, outer),
    slope: held ? 0 : -ratio * advantage,
    low: free < 1 - clip.low && advantage < 0,
    high: free > 1 + clip.high && advantage > 0,
  };
}

/** Counts of clipped ratios; `count` is of ratios, be they of tokens or of completions. */
export class ClipCounts {
  count = 0;
  low = 0;
  high = 0;
  /** Least share of low and greatest of high clips in a completion. */
  leastLow = Infinity;
  greatestHigh = -Infinity;

  /** Takes in the surrogates of one completion's ratios. */
  add(surrogates: Iterable<Pick<Surrogate, 'low' | 'high'>>): void {
    let count = 0;
    let low = 0;
    let high = 0;
    for (const surrogate of surrogates) {
      count += 1;
      if (surrogate.low) low += 1;
      if (surrogate.high) high += 1;
    }
    if (count === 0) return;
    this.count += count;
    this.low += low;
    this.high += high;
    this.leastLow = Math.min(this.leastLow, low / count);
    this.greatestHigh = Math.max(this.greatestHigh, high / count);
  }

  /** As sums over microbatches; the least and the greatest are of one microbatch each, to be averaged over them. */
  sums(): Record<string, number> {
    const any = this.count > 0;
    return {
      ratios: this.count,
      clipped_low: this.low,
      clipped_high: this.high,
      least_low: any ? this.leastLow : 0,
      greatest_high: any ? this.greatestHigh : 0,
      clip_batches: any ? 1 : 0,
    };
  }
}

/** TRL's metrics of clipping from those sums. */
export function clipMetrics(sums: Readonly<Record<string, number>>): Record<string, number> {
  const share = (part: number, whole: number) => (whole > 0 ? part / whole : 0);
  const { ratios = 0, clipped_low = 0, clipped_high = 0, clip_batches = 0 } = sums;
  return {
    'clip_ratio/low_mean': share(clipped_low, ratios),
    'clip_ratio/low_min': share(sums.least_low ?? 0, clip_batches),
    'clip_ratio/high_mean': share(clipped_high, ratios),
    'clip_ratio/high_max': share(sums.greatest_high ?? 0, clip_batches),
    'clip_ratio/region_mean': share(clipped_low + clipped_high, ratios),
  };
}
