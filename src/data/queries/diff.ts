/**
 * Which documents one dataset has and the other has not, by their text: order and copies do not count. Beside a
 * prepared dataset, rows of files count by the field `text`, which is all that is prepared of them. In memory are 16
 * bytes of hash a document.
 */
import type { DataQueryOf } from '../../../proto/data.ts';
import type { Page, SectionOf } from '../../../proto/page.ts';
import { contentKey, findDataset, type QueryContext, readPlace, type ShownRow } from './place.ts';
import { spansOf } from './sample.ts';

/** What rows are known by. */
type Key = (row: ShownRow) => string;

interface Side {
  rows: number;
  hashes: Set<string>;
}

export async function diff(ask: DataQueryOf<'diff'>, context: QueryContext): Promise<Page> {
  const prepared = [await findDataset(ask.a, context), await findDataset(ask.b, context)];
  const beside = prepared.filter((folder) => folder !== undefined).length === 1;
  const key = beside ? textKey : wholeKey;
  const [a, b] = [await hashesOf(ask.a, key, context), await hashesOf(ask.b, key, context)];
  const both = [...a.hashes].reduce((count, hash) => count + (b.hashes.has(hash) ? 1 : 0), 0);
  const only = [
    await onlyIn(ask.a, b, ask.examples, key, context),
    await onlyIn(ask.b, a, ask.examples, key, context),
  ] as const;
  const examples = (name: string, rows: ShownRow[]): SectionOf<'rows'>[] =>
    rows.length === 0
      ? []
      : [
          {
            kind: 'rows',
            title: `Only in ${name}`,
            rows: rows.map(({ origin, texts }) => ({ origin, spans: spansOf(texts) })),
          },
        ];
  return {
    title: `${ask.a} and ${ask.b}`,
    sections: [
      {
        kind: 'table',
        title: 'Documents',
        note: `Distinct documents count once, whatever their order and copies.${beside ? ' Of rows of files the field `text` counts.' : ''}`,
        columns: ['', 'rows', 'distinct', 'only here', 'in both'],
        rows: [
          [ask.a, a.rows, a.hashes.size, a.hashes.size - both, both],
          [ask.b, b.rows, b.hashes.size, b.hashes.size - both, both],
        ],
      },
      ...examples(ask.a, only[0]),
      ...examples(ask.b, only[1]),
    ],
  };
}

async function hashesOf(name: string, key: Key, context: QueryContext): Promise<Side> {
  const side: Side = { rows: 0, hashes: new Set() };
  for await (const group of readPlace([name], context)) {
    for (const row of group) {
      side.rows += 1;
      side.hashes.add(key(row));
    }
  }
  return side;
}

/** The first rows that the other side has not, each once. */
async function onlyIn(
  name: string,
  other: Side,
  count: number,
  key: Key,
  context: QueryContext,
): Promise<ShownRow[]> {
  const found = new Map<string, ShownRow>();
  if (count === 0) return [];
  for await (const group of readPlace([name], context)) {
    for (const row of group) {
      const hash = key(row);
      if (other.hashes.has(hash) || found.has(hash)) continue;
      found.set(hash, row);
      if (found.size === count) return [...found.values()];
    }
  }
  return [...found.values()];
}

function wholeKey({ texts }: ShownRow): string {
  return contentKey(JSON.stringify(texts.map(({ field, text }) => [field ?? '', text])));
}

function textKey(row: ShownRow): string {
  const text = row.texts.find(({ field }) => field === undefined || field === 'text');
  return text === undefined ? wholeKey(row) : contentKey(text.text);
}
