/** Documents compared over all units: duplicates of earlier ones, and what those that stay share with evaluation sets. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplicates } from '../../native/dedup.ts';
import type { StageContext } from '../../stages/stage.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { Decontamination } from '../dedup/decontamination.ts';
import { findDuplicates } from '../dedup/duplicates.ts';
import type { OverlapFile } from '../dedup/overlap.ts';
import type { DedupReport } from '../dedup/report.ts';
import { duplicateExamples } from './examples.ts';
import type { Dropped, MergeOptions, MergeUnit } from './merge.ts';
import type { Repeated } from './repeated.ts';
import type { PrepareSettings } from './settings.ts';
import { type DoneUnit, UnitFileReader } from './unit_folder.ts';
import type { UnitReport } from './unit_report.ts';

/** What was found, as the merge asks for it. */
export class FoundDuplicates implements Dropped {
  readonly found: Duplicates | undefined;
  /** A bit a document. */
  readonly #bits: Uint8Array;

  constructor(found: Duplicates | undefined, documents: number) {
    this.found = found;
    this.#bits = new Uint8Array(Math.ceil(documents / 8));
    for (const document of found?.dropped ?? []) this.#bits[Math.floor(document / 8)]! |= 1 << (document % 8);
  }

  has(document: number): boolean {
    return (this.#bits[Math.floor(document / 8)]! & (1 << (document % 8))) !== 0;
  }

  isExact(document: number): boolean {
    const { dropped, exact } = this.found!;
    let low = 0;
    let high = dropped.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (dropped[middle]! < document) low = middle + 1;
      else high = middle;
    }
    return exact[low] === 1;
  }
}

/** Finds the duplicates among the documents of all units, where the settings ask for it. */
export async function findUnitDuplicates(
  { settings, addon, threads, workDir }: StageContext<PrepareSettings>,
  units: readonly MergeUnit[],
): Promise<FoundDuplicates> {
  const { dedup } = settings;
  const documents = units.reduce((sum, { done }) => sum + done.report.documents, 0);
  if (!dedup || (!dedup.exact && !dedup.near)) return new FoundDuplicates(undefined, documents);
  const files = units
    .filter(({ done }) => done.report.documents > 0)
    .map(({ unit, done }) => ({
      exact: join(done.path, 'exact.bin'),
      ...(dedup.near && { bands: join(done.path, 'bands.bin') }),
      ...(dedup.near?.verify && { signatures: join(done.path, 'signatures.bin') }),
      documents: done.report.documents,
      group: unit.source,
    }));
  const found = await findDuplicates(dedup, files, { addon, threads, dir: workDir });
  return new FoundDuplicates(found, documents);
}

const PAIRS_AT_ONCE = 1 << 16;

/** Counts what the documents that stay share with evaluation sets. */
export async function overlapOf(
  decontamination: Decontamination,
  { units, dropped, maxDocuments }: Pick<MergeOptions, 'units' | 'dropped' | 'maxDocuments'>,
): Promise<OverlapFile> {
  let first = 0;
  for (const { done } of units) {
    for await (const pairs of readPairs(done)) {
      const documents = new Uint32Array(pairs.length / 2);
      const grams = new Uint32Array(pairs.length / 2);
      let count = 0;
      for (let i = 0; i < pairs.length; i += 2) {
        const number = first + pairs[i]!;
        if (number >= maxDocuments || dropped.has(number)) continue;
        documents[count] = number;
        grams[count++] = pairs[i + 1]!;
      }
      await decontamination.tally(documents.subarray(0, count), grams.subarray(0, count));
    }
    first += done.report.documents;
  }
  return decontamination.overlap();
}

async function* readPairs(unit: DoneUnit): AsyncGenerator<Uint32Array> {
  if (!unit.files.some(({ file }) => file === 'overlap.bin')) return;
  const { size } = await stat(join(unit.path, 'overlap.bin'));
  const reader = await UnitFileReader.open(unit, 'overlap.bin');
  try {
    for (let at = 0; at < size; at += 8 * PAIRS_AT_ONCE) {
      const bytes = await reader.read(at, Math.min(8 * PAIRS_AT_ONCE, size - at));
      yield new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    }
  } finally {
    await reader.close();
  }
}

/** What deduplication came to, for the page of the dataset. */
export async function dedupReport(
  { found }: FoundDuplicates,
  options: MergeOptions,
  tokenizer: Tokenizer,
  { documents, removed }: UnitReport,
  { lines, paragraphs }: Repeated['counts'],
): Promise<DedupReport> {
  const exact = found?.exact.reduce((sum, equal) => sum + equal, 0) ?? 0;
  const near = (found?.dropped.length ?? 0) - exact;
  return {
    documents,
    exact,
    near,
    clusters: found?.clusters ?? 0,
    largest: found?.largest ?? 0,
    refused: found?.refused ?? 0,
    spilled_bytes: found?.spilledBytes ?? 0,
    ...(lines && { lines: { ...lines, removed: removed.lines, documents: removed.lines_documents } }),
    ...(paragraphs && {
      paragraphs: { ...paragraphs, removed: removed.paragraphs, documents: removed.paragraphs_documents },
    }),
    examples: found ? await duplicateExamples(found, options, tokenizer) : [],
  };
}
