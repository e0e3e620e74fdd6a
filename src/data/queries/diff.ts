/**
 * Which documents one dataset has and the other has not, by their text: order and copies do not count. In memory are
 * 16 bytes of hash a document.
 */
import type { DataQueryOf } from '../../../proto/data.ts';
import type { Page, SectionOf } from '../../../proto/page.ts';
import { contentKey, type QueryContext, readPlace, type ShownRow } from './place.ts';
import { spansOf } from './sample.ts';

interface Side {
  rows: number;
  hashes: Set<string>;
}

export async function diff(ask: DataQueryOf<'diff'>, context: QueryContext): Promise<Page> {
  const [a, b] = [await hashesOf(ask.a, context), await hashesOf(ask.b, context)];
  const both = [...a.hashes].reduce((count, hash) => count + (b.hashes.has(hash) ? 1 : 0), 0);
  const only = [
    await onlyIn(ask.a, b, ask.examples, context),
    await onlyIn(ask.b, a, ask.examples, context),
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
        note: 'Distinct documents count once, whatever their order and copies.',
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

async function hashesOf(name: string, context: QueryContext): Promise<Side> {
  const side: Side = { rows: 0, hashes: new Set() };
  for await (const group of readPlace([name], context)) {
    for (const row of group) {
      side.rows += 1;
      side.hashes.add(hashOf(row));
    }
  }
  return side;
}

/** The first rows that the other side has not, each once. */
async function onlyIn(name: string, other: Side, count: number, context: QueryContext): Promise<ShownRow[]> {
  const found = new Map<string, ShownRow>();
  if (count === 0) return [];
  for await (const group of readPlace([name], context)) {
    for (const row of group) {
      const hash = hashOf(row);
      if (other.hashes.has(hash) || found.has(hash)) continue;
      found.set(hash, row);
      if (found.size === count) return [...found.values()];
    }
  }
  return [...found.values()];
}

function hashOf({ texts }: ShownRow): string {
  const content = JSON.stringify(texts.map(({ field, text }) => [field ?? '', text]));
  return contentKey(content);
}
