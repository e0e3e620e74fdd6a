/** What deduplication and decontamination came to, as sections of a page. */
import type { Section } from '../../../proto/page.ts';
import { candidateProbability, nearOptions } from './near.ts';
import type { OverlapFile } from './overlap.ts';
import type { DedupSettings } from './settings.ts';

/** Counts of a finished deduplication. */
export interface DedupReport {
  documents: number;
  exact: number;
  near: number;
  clusters: number;
  largest: number;
  /** Pairs that signatures did not bear out; with `verify`. */
  refused: number;
  spilled_bytes: number;
  /** Lines and paragraphs that were removed, and of how many documents. */
  lines?: RemovedParts;
  paragraphs?: RemovedParts;
  /** Duplicates with what stayed instead. */
  examples: { dropped: string; kept: string; exact: boolean; excerpt: string }[];
}

export interface RemovedParts {
  removed: number;
  documents: number;
  repeated: number;
  distinct: number;
}

export function dedupSections(settings: DedupSettings, report: DedupReport): Section[] {
  const share = (part: number) => `${((100 * part) / Math.max(1, report.documents)).toFixed(2)}%`;
  const { lines, paragraphs, examples } = report;
  const parts = (name: string, of: RemovedParts | undefined) =>
    of === undefined
      ? []
      : [
          {
            name,
            value: of.removed,
            note: `of ${of.documents} documents; ${of.repeated} of ${of.distinct} different ones are repeated`,
          },
        ];
  const facts: Section = {
    kind: 'facts',
    title: 'Duplicates',
    note: `The first document of a cluster stays${settings.across_sources ? '' : '; each source is looked at alone'}.`,
    facts: [
      { name: 'Documents', value: report.documents },
      { name: 'Exact duplicates', value: report.exact, note: share(report.exact) },
      ...(settings.near ? [{ name: 'Near duplicates', value: report.near, note: share(report.near) }] : []),
      { name: 'Clusters', value: report.clusters },
      { name: 'Documents of the largest', value: report.largest },
      ...(settings.near?.verify
        ? [{ name: 'Pairs refused by their signatures', value: report.refused }]
        : []),
      ...parts('Lines removed', lines),
      ...parts('Paragraphs removed', paragraphs),
      { name: 'Bytes sorted on disk', value: report.spilled_bytes },
    ],
  };
  return [facts, ...nearSections(settings), ...exampleSections(examples)];
}

/** How sure the bands are, by similarity. */
function nearSections({ near }: DedupSettings): Section[] {
  if (near === undefined) return [];
  const options = nearOptions(near);
  const { bands, rows } = options;
  return [
    {
      kind: 'table',
      title: 'Chance that near duplicates are found',
      note: `${bands} bands of ${rows} hashes, shingles of ${near.shingle} ${near.unit}s; for two documents by the similarity of their shingles.`,
      columns: ['similarity', 'found'],
      rows: [0.5, 0.6, 0.7, 0.8, 0.9, 0.95].map((similarity) => [
        similarity,
        `${(100 * candidateProbability(similarity, options)).toFixed(1)}%`,
      ]),
    },
  ];
}

function exampleSections(examples: DedupReport['examples']): Section[] {
  if (examples.length === 0) return [];
  return [
    {
      kind: 'rows',
      title: 'Examples of duplicates',
      rows: examples.map(({ dropped, kept, exact, excerpt }) => ({
        origin: dropped,
        label: `${exact ? 'equals' : 'is near'} ${kept}`,
        spans: [{ text: excerpt, marked: false }],
      })),
    },
  ];
}

export function overlapSections(overlap: OverlapFile): Section[] {
  return [
    {
      kind: 'table',
      title: 'Overlap with evaluation sets',
      note: `What the dataset still shares, in n-grams of ${overlap.ngram} words. Contaminated: one document has ${overlap.threshold} of the row's n-grams, or just its words.`,
      columns: ['set', 'rows', 'contaminated', 'with any n-gram', 'in just the same words'],
      rows: overlap.sets.map(({ name, keys, contaminated, rows }) => [
        name,
        keys.length,
        contaminated,
        rows.length,
        rows.filter(({ exact }) => exact > 0).length,
      ]),
    },
  ];
}
