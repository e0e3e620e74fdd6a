/** Counts and lengths of a prepared dataset, with the report that its stage has left. */
import { join } from 'node:path';
import type { DataQueryOf } from '../../../proto/data.ts';
import { type Page, pageSchema, type Section, type SectionOf } from '../../../proto/page.ts';
import type { Lineage } from '../../artifacts/lineage.ts';
import { readLineage } from '../../artifacts/store.ts';
import { exists, readJson } from '../../util/files.ts';
import { mergeHint, openTokenDataset, type Part, readManifestOrPart } from '../dataset.ts';
import { formatFact } from '../page/format.ts';
import { LengthHistogram } from '../page/histogram.ts';
import { type QueryContext, requireDataset, SPLITS } from './place.ts';

export const REPORT_FILE = 'report.json';

export async function stats(ask: DataQueryOf<'stats'>, context: QueryContext): Promise<Page> {
  const name = ask.in[0]!;
  const path = await requireDataset(name, context);
  const manifest = readManifestOrPart(path);
  const lineage = await readLineage(path);
  if (manifest.format === 'anneal-tokens-part') return partPage(name, path, manifest, lineage);
  const { train, validation } = manifest.splits;
  const report = await readReport(path);
  return {
    title: name,
    sections: [
      {
        kind: 'facts',
        title: 'Dataset',
        facts: [
          { name: 'documents', value: train.documents + validation.documents },
          { name: 'tokens', value: train.tokens + validation.tokens },
          { name: 'train', value: train.tokens, note: `tokens, ${formatFact(train.documents)} documents` },
          {
            name: 'validation',
            value: validation.tokens,
            note: `tokens, ${formatFact(validation.documents)} documents`,
          },
          { name: 'vocabulary', value: manifest.vocab_size, note: `ids of ${manifest.token_bytes} bytes` },
          { name: 'shards', value: train.shards.length + validation.shards.length },
          ...madeBy(lineage),
          { name: 'folder', value: path },
        ],
      },
      ...SPLITS.flatMap((split) => lengthsOf(path, split)),
      ...(report?.sections ?? []),
    ],
  };
}

/** What is to be said of a part, which is in `work_dir` with the others. */
function partPage(title: string, path: string, part: Part, lineage: Lineage | undefined): Page {
  const counted = (['documents', 'tokens'] as const).flatMap((name) => {
    const value = lineage?.results[name];
    return value === undefined ? [] : [{ name, value, note: 'before duplicates go and sources are mixed' }];
  });
  return {
    title,
    sections: [
      {
        kind: 'facts',
        title: 'Part of a dataset',
        note: mergeHint(part),
        facts: [
          { name: 'part', value: part.part },
          { name: 'units', value: part.units_of_part, note: `of ${formatFact(part.units)} of the whole` },
          ...counted,
          { name: 'work_dir', value: part.work_dir },
          ...madeBy(lineage),
          { name: 'folder', value: path },
        ],
      },
    ],
  };
}

function madeBy(lineage: Lineage | undefined): SectionOf<'facts'>['facts'] {
  return lineage ? [{ name: 'made by', value: `${lineage.job_name}/${lineage.stage}` }] : [];
}

function lengthsOf(path: string, split: (typeof SPLITS)[number]): Section[] {
  const dataset = openTokenDataset(path, split);
  try {
    if (dataset.numDocuments === 0) return [];
    const histogram = new LengthHistogram();
    for (const length of dataset.lengths) histogram.add(length);
    return [histogram.section(`Length of documents, ${split}`, 'tokens')];
  } finally {
    dataset.close();
  }
}

/** What the `prepare` stage has reported, where it has left a report. */
async function readReport(path: string): Promise<Page | undefined> {
  const file = join(path, REPORT_FILE);
  if (!(await exists(file))) return undefined;
  return pageSchema.parse(await readJson(file, 'artifact_corrupt'));
}
