/** What a query is about: raw files, or a prepared dataset, by what people call it. */
import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AnnealError } from '../../../proto/errors.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { exists } from '../../util/files.ts';
import { openTokenDataset, type Split, type TokenDataset } from '../dataset.ts';
import { readRecords } from '../sources/read.ts';
import { sourceSettings } from '../sources/settings.ts';
import { type RawRecord, recordOrigin } from '../sources/unit.ts';

/** Where a query looks for names, and where relative paths start. */
export interface QueryContext {
  home: string;
  baseDir: string;
  threads: number;
}

/** A row as people read it: its text, or each of its fields that hold text. */
export interface ShownRow {
  origin: string;
  texts: { field: string | undefined; text: string }[];
}

export const SPLITS = ['train', 'validation'] as const satisfies Split[];

/** The folder of the prepared dataset that a name means: `<job>/<stage>`, or a folder; undefined for anything else. */
export async function findDataset(
  name: string,
  { home, baseDir }: QueryContext,
): Promise<string | undefined> {
  for (const path of [join(home, 'datasets', name), resolve(baseDir, name)]) {
    if (await exists(join(path, 'manifest.json'))) return realpath(path);
  }
  return undefined;
}

/** As `findDataset`; what is none is an error. */
export async function requireDataset(name: string, context: QueryContext): Promise<string> {
  const found = await findDataset(name, context);
  if (found !== undefined) return found;
  throw new AnnealError('file_not_found', `There is no prepared dataset ${name}.`, {
    path: name,
    hint: 'Name a `prepare` stage as <job>/<stage>, or the folder of one; raw files are for `anneal data inspect`.',
  });
}

/** The rows of what the names mean: of a prepared dataset's documents, decoded, or of files. */
export async function* readPlace(
  names: readonly string[],
  context: QueryContext,
): AsyncGenerator<ShownRow[]> {
  const dataset = names.length === 1 ? await findDataset(names[0]!, context) : undefined;
  if (dataset !== undefined) {
    yield* readDataset(dataset, context);
    return;
  }
  for await (const { unit, records } of readRecords(names, sourceSettings.parse({}), context.baseDir)) {
    yield records.map((record) => shownRecord(record, recordOrigin(unit, record.line)));
  }
}

async function* readDataset(path: string, { threads }: QueryContext): AsyncGenerator<ShownRow[]> {
  const tokenizer = await loadTokenizer(join(path, 'tokenizer'), { threads });
  for (const split of SPLITS) {
    const dataset = openTokenDataset(path, split);
    try {
      for (let i = 0; i < dataset.numDocuments; i++) yield [shownDocument(dataset, i, tokenizer)];
    } finally {
      dataset.close();
    }
  }
}

/** Document `i` of a dataset as text, without special tokens. */
export function shownDocument(
  dataset: TokenDataset,
  i: number,
  tokenizer: { decode(ids: Iterable<number>, options: { skipSpecials: boolean }): string },
): ShownRow {
  const text = tokenizer.decode(dataset.document(i), { skipSpecials: true });
  return { origin: dataset.origin(i), texts: [{ field: undefined, text }] };
}

function shownRecord(record: RawRecord, origin: string): ShownRow {
  if (record.bad) return { origin, texts: [{ field: 'bad row', text: record.bad.excerpt }] };
  const text = record.text === undefined ? [] : [{ field: undefined, text: record.text.toString() }];
  return { origin, texts: [...text, ...textsOf(record.fields ?? {})] };
}

/** The strings of a value, each with the path of its field: `messages.0.content`. */
export function textsOf(value: unknown, path = ''): { field: string | undefined; text: string }[] {
  if (typeof value === 'string') return [{ field: path || undefined, text: value }];
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([key, member]) =>
    textsOf(member, path === '' ? key : `${path}.${key}`),
  );
}

/** What equal contents are known by: 132 bits of SHA-256, short as a key. */
export function contentKey(content: string): string {
  return createHash('sha256').update(content).digest('base64').slice(0, 22);
}
