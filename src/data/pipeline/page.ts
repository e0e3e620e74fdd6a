/** The page about a prepared dataset: what became of the rows of each source, and what is left. */
import type { Page, Section } from '../../../proto/page.ts';
import { cleaningSections } from '../cleaning/report.ts';
import type { Manifest, SourceEntry } from '../dataset.ts';
import type { OverlapFile } from '../dedup/overlap.ts';
import { type DedupReport, dedupSections, overlapSections } from '../dedup/report.ts';
import type { DedupSettings } from '../dedup/settings.ts';
import { LengthHistogram } from '../page/histogram.ts';
import type { MergeUnit } from './merge.ts';
import type { UnitReport } from './unit_report.ts';

/** Rows of the table of units at most. */
const UNITS = 500;

export interface PageContent {
  stage: string;
  manifest: Manifest;
  /** Of all units. */
  report: UnitReport;
  units: readonly MergeUnit[];
  dedup: { settings: DedupSettings; report: DedupReport } | undefined;
  overlap: OverlapFile | undefined;
}

export function datasetPage(content: PageContent): Page {
  const { stage, manifest, report, units, dedup, overlap } = content;
  return {
    title: `Dataset of ${stage}`,
    sections: [
      factsOf(manifest, report),
      sourcesOf(manifest.sources, overlap?.action === 'drop'),
      mixingOf(manifest),
      LengthHistogram.from(report.lengths).section(
        'Tokens of a document',
        'tokens',
        'Of all documents that the rules kept, before duplicates went and sources were mixed.',
      ),
      ...shapesOf(report),
      ...(report.cleaning ? cleaningSections(report.cleaning) : []),
      ...(dedup ? dedupSections(dedup.settings, dedup.report) : []),
      ...(overlap ? overlapSections(overlap) : []),
      ...contaminatedOf(report),
      unitsOf(units),
    ],
  };
}

function factsOf({ splits, content_hash, tokenizer_hash }: Manifest, report: UnitReport): Section {
  const { train, validation } = splits;
  return {
    kind: 'facts',
    title: 'In short',
    facts: [
      { name: 'Rows read', value: report.rows },
      { name: 'Training documents', value: train.documents },
      { name: 'Training tokens', value: train.tokens },
      { name: 'Validation documents', value: validation.documents },
      { name: 'Validation tokens', value: validation.tokens },
      { name: 'Bytes a token', value: report.tokens === 0 ? null : report.bytes / report.tokens },
      { name: 'Dataset', value: content_hash.slice(0, 16), note: 'hash of the content' },
      { name: 'Tokenizer', value: tokenizer_hash.slice(0, 16) },
    ],
  };
}

/** What became of the rows of a source: each is one of these. */
export function fates(source: SourceEntry, dropsContaminated: boolean): [name: string, rows: number][] {
  return [
    ['left out', source.filtered],
    ['not fitting', source.rejected],
    ['cleaned away', Object.values(source.dropped).reduce((all, count) => all + count, 0)],
    ['contaminated', dropsContaminated ? source.contaminated : 0],
    ['emptied', source.emptied],
    ['equal', source.exact_duplicates],
    ['near', source.near_duplicates],
    ['documents', source.documents],
  ];
}

function sourcesOf(sources: readonly SourceEntry[], dropsContaminated: boolean): Section {
  const rows = sources.map((source) => ({ source, fates: fates(source, dropsContaminated) }));
  return {
    kind: 'table',
    title: 'Rows by source',
    note: 'What became of each row: left out by `where`, without a shape that fits, dropped by cleaning or as contaminated, empty or emptied by what was removed from it, a duplicate, or a document.',
    columns: ['source', 'rows', ...rows[0]!.fates.map(([name]) => name), 'tokens', 'bytes'],
    rows: rows.map(({ source, fates }) => [
      source.name,
      source.rows,
      ...fates.map(([, count]) => count),
      source.tokens,
      source.bytes,
    ]),
  };
}

function mixingOf({ sources, splits }: Manifest): Section {
  const phases = sources[0]!.rates.length;
  const names =
    phases === 1 ? ['taken'] : Array.from({ length: phases }, (_, i) => `taken in phase ${i + 1}`);
  return {
    kind: 'table',
    title: 'What training reads',
    note: 'How often the documents of each source are taken, on average, and what that comes to.',
    columns: ['source', ...names, 'documents', 'tokens', 'share'],
    rows: sources.map(({ name, rates, train_documents, train_tokens }) => [
      name,
      ...rates.map((rate) => Number(rate.toPrecision(4))),
      train_documents,
      train_tokens,
      `${((100 * train_tokens) / splits.train.tokens).toFixed(1)}%`,
    ]),
  };
}

function shapesOf({ shapes }: UnitReport): Section[] {
  const rows = Object.entries(shapes).sort(([, a], [, b]) => b - a);
  return [{ kind: 'table', title: 'Shapes of the rows', columns: ['shape', 'rows'], rows }];
}

function contaminatedOf({ overlap_examples: examples }: UnitReport): Section[] {
  if (examples.length === 0) return [];
  return [
    {
      kind: 'rows',
      title: 'Examples of contaminated documents',
      rows: examples.map(({ set, row, share, excerpt }) => ({
        origin: row,
        label: `${(100 * share).toFixed(0)}% of a row of ${set}`,
        spans: [{ text: excerpt, marked: false }],
      })),
    },
  ];
}

function unitsOf(units: readonly MergeUnit[]): Section {
  const left = units.length - UNITS;
  return {
    kind: 'table',
    title: 'Units of work',
    ...(left > 0 ? { note: `The first ${UNITS}; ${left} more are left out here.` } : {}),
    columns: ['unit', 'begins with', 'bytes read', 'rows', 'documents', 'tokens'],
    rows: units.slice(0, UNITS).map(({ unit, done }) => {
      const [{ name, start }] = unit.parts as [MergeUnit['unit']['parts'][0]];
      const { rows, documents, tokens } = done.report;
      return [unit.index, start > 0 ? `${name}:@${start}` : name, unit.bytes, rows, documents, tokens];
    }),
  };
}
