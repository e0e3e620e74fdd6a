/** The last step of a preparation: the dataset of units that are all done, with its manifest, read back. */
import { createReadStream } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AnnealError } from '../../../proto/errors.ts';
import type { StageContext } from '../../stages/stage.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { asFileError, writeFileAtomic } from '../../util/files.ts';
import { hashValue } from '../../util/hash.ts';
import {
  type Manifest,
  openTokenDataset,
  type SourceEntry,
  type Split,
  verifyTokenDataset,
} from '../dataset.ts';
import type { Decontamination } from '../dedup/decontamination.ts';
import { OVERLAP_FILE, type OverlapFile } from '../dedup/overlap.ts';
import { mixRates } from '../mix.ts';
import { pageHtml } from '../page/html.ts';
import { REJECTED_FILE } from '../shapes/rejects.ts';
import { describeShapes } from '../shapes/shapes.ts';
import { SplitWriter, tokenBytesFor } from '../shards.ts';
import { dedupReport, type FoundDuplicates, findUnitDuplicates, overlapOf } from './compare.ts';
import {
  Concatenator,
  type MergeOptions,
  type MergeUnit,
  type Sample,
  type SourceStock,
  type SourceTaken,
  takeStock,
} from './merge.ts';
import { datasetPage, fates } from './page.ts';
import type { Repeated } from './repeated.ts';
import type { PrepareSettings, PrepareSource } from './settings.ts';
import { addReport, emptyReport, requireFitting, type UnitReport } from './unit_report.ts';
import type { WorkFile } from './units.ts';

export interface MergeJob {
  context: StageContext<PrepareSettings>;
  tokenizer: Tokenizer;
  sources: readonly PrepareSource[];
  files: readonly (readonly WorkFile[])[];
  units: readonly MergeUnit[];
  decontamination: Decontamination | undefined;
  repeated: Repeated['counts'];
}

/** Writes the dataset into the stage's folder and records what it came to. */
export async function mergeUnits(job: MergeJob): Promise<void> {
  const { context, tokenizer, sources, units } = job;
  const { settings, name, outDir, seed } = context;
  const reports = sources.map(emptyReport);
  for (const { unit, done } of units) addReport(reports[unit.source]!, done.report);
  for (const [i, source] of sources.entries()) requireFitting(source, reports[i]!, name);
  for (const [i, source] of sources.entries()) tellSource(context, source.name, reports[i]!);
  await copyRejected(units, join(outDir, REJECTED_FILE));

  const duplicates = await findUnitDuplicates(context, units);
  const options: MergeOptions = {
    units,
    dropped: duplicates,
    seed,
    validationFraction: settings.validation_fraction,
    maxDocuments: settings.max_documents ?? Number.POSITIVE_INFINITY,
    tokenBytes: tokenBytesFor(tokenizer.vocabSize),
  };
  const stocks = await takeStock(options, sources.length);
  const rates = mixRates(
    sources.map((source, i) => ({ ...source, ...stocks[i]!.train })),
    settings.mixing,
  );
  const locations = [...new Set(units.flatMap(({ unit }) => unit.parts.map(({ name: part }) => part)))];
  const overlap = job.decontamination && (await overlapOf(job.decontamination, options));
  if (overlap) await writeFileAtomic(join(outDir, OVERLAP_FILE), `${JSON.stringify(overlap)}\n`);
  const numbers = new Map(locations.map((location, i) => [location, i]));
  const writers: Record<Split, SplitWriter> = {
    train: await SplitWriter.create(outDir, 'train', tokenizer.vocabSize),
    validation: await SplitWriter.create(outDir, 'validation', tokenizer.vocabSize),
  };
  let manifest: Manifest;
  try {
    const concatenator = new Concatenator(
      options,
      {
        rates,
        caps: sources,
        locationOf: (unit, part) => numbers.get(unit.parts[part]!.name)!,
        progress: () => undefined,
      },
      writers,
    );
    await concatenator.run();
    const splits = { train: await writers.train.finish(), validation: await writers.validation.finish() };
    requireTokens(splits.train.tokens, name);
    manifest = manifestOf({
      tokenizer_hash: tokenizer.hash,
      vocab_size: tokenizer.vocabSize,
      token_bytes: options.tokenBytes,
      sources: sources.map((source, i) =>
        sourceEntry(source, job.files[i]!, rates[i]!, reports[i]!, stocks[i]!, concatenator.taken[i]!),
      ),
      locations,
      ...(overlap && { decontamination: overlap.sets.map(overlapEntry) }),
      splits,
    });
    await writePage(job, options, duplicates, manifest, reports, overlap);
    await writeFileAtomic(join(outDir, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    await readBack(outDir, concatenator.samples, options.tokenBytes);
    tellDataset(context, manifest, overlap?.action === 'drop');
  } finally {
    await writers.train.close();
    await writers.validation.close();
  }
  const sum = (of: (entry: SourceEntry) => number): number =>
    manifest.sources.reduce((all, entry) => all + of(entry), 0);
  context.record({
    dataset: manifest.content_hash,
    rows: sum(({ rows }) => rows),
    documents: sum(({ documents }) => documents),
    train_tokens: manifest.splits.train.tokens,
    validation_tokens: manifest.splits.validation.tokens,
    tokenizer: tokenizer.hash,
  });
}

/** `report.json`, and the same for a browser. */
async function writePage(
  { context, tokenizer, units, repeated }: MergeJob,
  options: MergeOptions,
  duplicates: FoundDuplicates,
  manifest: Manifest,
  reports: readonly UnitReport[],
  overlap: OverlapFile | undefined,
): Promise<void> {
  const { settings, name, outDir } = context;
  const report = emptyReport();
  for (const one of reports) addReport(report, one);
  const { dedup } = settings;
  const page = datasetPage({
    stage: name,
    manifest,
    report,
    units,
    dedup: dedup && {
      settings: dedup,
      report: await dedupReport(duplicates, options, tokenizer, report, repeated),
    },
    overlap,
  });
  await writeFileAtomic(join(outDir, 'report.json'), `${JSON.stringify(page)}\n`);
  await writeFileAtomic(join(outDir, 'report.html'), pageHtml(page));
}

/** Tells what was found in each source. */
function tellSource({ emit, name: stage }: MergeJob['context'], source: string, report: UnitReport): void {
  const { rows, shapes, besides, filtered, rejected, first_rejected } = report;
  const found = describeShapes(rows, Object.entries(shapes), Object.keys(besides));
  const left = filtered > 0 ? `; ${filtered.toLocaleString('en')} left out by where` : '';
  const text = `${source}: ${found}${left}.`;
  emit('notice', { stage, level: 'info', text }, `${stage}/${source}/shapes`);
  if (rejected === 0) return;
  const refused = `${source}: ${rejected} of ${rows} rows do not fit, kept aside in ${REJECTED_FILE}: ${first_rejected.join(' ')}`;
  emit('notice', { stage, level: 'warning', text: refused }, `${stage}/${source}/rejected`);
}

/** Tells what became of all rows together. */
function tellDataset(
  { emit, name: stage }: MergeJob['context'],
  { sources, splits }: Manifest,
  dropsContaminated: boolean,
): void {
  const sums = new Map<string, number>();
  for (const [fate, rows] of sources.flatMap((source) => fates(source, dropsContaminated))) {
    sums.set(fate, (sums.get(fate) ?? 0) + rows);
  }
  const kept = sums.get('documents')!;
  const gone = [...sums].filter(([fate, rows]) => fate !== 'documents' && rows > 0);
  const why = gone.map(([fate, rows]) => `${rows.toLocaleString('en')} ${fate}`).join(', ');
  const tokens = (['train', 'validation'] as const).map(
    (split) =>
      `${splits[split].tokens.toLocaleString('en')} tokens for ${split === 'train' ? 'training' : split}`,
  );
  const text = `${kept.toLocaleString('en')} documents${why === '' ? '' : ` (of the other rows ${why})`}; ${tokens.join(', ')}${mixed(sources)}.`;
  emit('notice', { stage, level: 'info', text }, `${stage}/kept`);
}

const NAMED_SOURCES = 4;

/** How often mixing takes the sources that it does not take once, those first that it takes least of. */
function mixed(sources: readonly SourceEntry[]): string {
  const taken = sources
    .map(({ name, rates }) => ({ name, rate: rates.reduce((sum, rate) => sum + rate, 0) }))
    .filter(({ rate }) => Math.abs(rate - 1) > 1e-9)
    .sort((a, b) => a.rate - b.rate);
  if (taken.length === 0) return '';
  const named = taken
    .slice(0, NAMED_SOURCES)
    .map(({ name, rate }) => `${name} ${Number(rate.toPrecision(2))}`);
  const more = taken.length - named.length;
  return `; mixing takes ${named.join(', ')}${more > 0 ? ` and ${more} more` : ''} times`;
}

type Content = Omit<Manifest, 'format' | 'version' | 'content_hash'>;

/** With the hash of all but the names of files, which differ from machine to machine. */
function manifestOf(content: Content): Manifest {
  const { locations, sources, ...rest } = content;
  const unnamed = sources.map(({ files, ...source }) => ({
    ...source,
    files: files.map(({ sha256 }) => sha256),
  }));
  const content_hash = hashValue({ ...rest, sources: unnamed, locations: locations.length });
  return { format: 'anneal-tokens', version: 2, content_hash, ...content };
}

function sourceEntry(
  source: PrepareSource,
  files: readonly WorkFile[],
  rates: readonly number[],
  report: UnitReport,
  stock: SourceStock,
  taken: SourceTaken,
): SourceEntry {
  return {
    name: source.name,
    files: files.map(({ file, bytes, sha256 }) => ({ file, bytes, sha256 })),
    rates: [...rates],
    rows: report.rows,
    filtered: report.filtered,
    rejected: report.rejected,
    dropped: droppedBy(report),
    contaminated: report.contaminated,
    emptied: report.emptied,
    exact_duplicates: stock.exact,
    near_duplicates: stock.near,
    documents: stock.documents,
    tokens: stock.tokens,
    bytes: stock.bytes,
    train_documents: taken.train.documents,
    train_tokens: taken.train.tokens,
    validation_documents: taken.validation.documents,
    validation_tokens: taken.validation.tokens,
  };
}

function droppedBy({ cleaning }: UnitReport): Record<string, number> {
  const rules = Object.entries(cleaning?.rules ?? {}).filter(([, { dropped }]) => dropped > 0);
  return Object.fromEntries(rules.map(([name, { dropped }]) => [name, dropped]));
}

function overlapEntry({ name, keys, rows, contaminated }: OverlapFile['sets'][number]) {
  return { name, rows: keys.length, contaminated, sharing: rows.length };
}

/** The rows that did not fit, of all units in order. */
async function copyRejected(units: readonly MergeUnit[], to: string): Promise<void> {
  for (const { done } of units) {
    if (!done.files.some(({ file }) => file === REJECTED_FILE)) continue;
    try {
      await appendFile(to, createReadStream(join(done.path, REJECTED_FILE)));
    } catch (error) {
      throw asFileError(error, to);
    }
  }
}

function requireTokens(tokens: number, stage: string): void {
  if (tokens > 0) return;
  throw new AnnealError('data_empty', `The sources of stage ${stage} give no training tokens.`, {
    path: 'files',
    hint: 'Name files with text in them, or lower validation_fraction.',
  });
}

/** Opens what was written, checks every checksum, and compares sample documents. */
async function readBack(outDir: string, samples: readonly Sample[], tokenBytes: 2 | 4): Promise<void> {
  await verifyTokenDataset(outDir);
  for (const split of ['train', 'validation'] as const) {
    const dataset = openTokenDataset(outDir, split);
    try {
      for (const sample of samples.filter((one) => one.split === split)) {
        const saved = dataset.document(sample.document);
        const { buffer, byteOffset, length } = sample.ids;
        const made =
          tokenBytes === 2
            ? new Uint16Array(buffer, byteOffset, length / 2)
            : new Int32Array(buffer, byteOffset, length / 4);
        if (saved.length === made.length && saved.every((id, i) => id === made[i])) continue;
        throw new AnnealError(
          'readback_failed',
          `Document ${sample.document} of ${outDir}/${split} reads back as other ids.`,
          { path: outDir },
        );
      }
    } finally {
      dataset.close();
    }
  }
}
