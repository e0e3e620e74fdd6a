/** What labellers, of any kind, say about a dataset of responses. */
import type { Ranking } from './order.ts';

/** What one labeller says about a row, whole or in part: what agreement is measured on. */
export interface Voice {
  labeller: string;
  criterion: string;
  ranking: Ranking;
}

/** All that is said about a row. */
export interface RowLabels {
  /** By response; null where nothing is said about one. */
  scores: (number | null)[];
  voices: Voice[];
}

export interface Labelled {
  rows: RowLabels[];
  /** Why nothing was said about responses, and how often. */
  skipped: ReadonlyMap<string, number>;
  /** What is to know of the labeller, for the artifact's lineage. Absent: nothing. */
  results?: Record<string, number>;
}
