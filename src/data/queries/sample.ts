/** Rows drawn at random, each as likely as any other, in their order. */
import type { DataQueryOf } from '../../../proto/data.ts';
import type { Page } from '../../../proto/page.ts';
import { formatFact } from '../page/format.ts';
import { DataRandom } from '../random.ts';
import { type QueryContext, readPlace, type ShownRow } from './place.ts';

/** Characters of a row that are shown. */
const SHOWN = 2000;

export async function sample(ask: DataQueryOf<'sample'>, context: QueryContext): Promise<Page> {
  const { drawn, rows } = await draw(ask, context);
  return {
    title: `${drawn.length} of ${formatFact(rows)} rows of ${ask.in.join(', ')}`,
    sections: [
      {
        kind: 'rows',
        title: 'Rows',
        note: `${drawn.length} of ${formatFact(rows)}, drawn with seed ${ask.seed}.`,
        rows: drawn.map(({ origin, texts }) => ({ origin, spans: spansOf(texts) })),
      },
    ],
  };
}

/** Reservoir sampling (Vitter 1985, algorithm R): one pass, whatever the number of rows. */
async function draw(
  { in: names, count, seed }: DataQueryOf<'sample'>,
  context: QueryContext,
): Promise<{ drawn: ShownRow[]; rows: number }> {
  const random = new DataRandom('data sample', seed);
  const kept: { at: number; row: ShownRow }[] = [];
  let rows = 0;
  for await (const group of readPlace(names, context)) {
    for (const row of group) {
      const at = rows++;
      if (kept.length < count) kept.push({ at, row });
      else {
        const place = random.below(rows);
        if (place < count) kept[place] = { at, row };
      }
    }
  }
  return { drawn: kept.sort((a, b) => a.at - b.at).map(({ row }) => row), rows };
}

/** Texts one below the other, the names of their fields marked. */
export function spansOf(texts: ShownRow['texts']): { text: string; marked: boolean }[] {
  let left = SHOWN;
  return texts.flatMap(({ field, text }, i) => {
    if (left <= 0) return [];
    const cut = text.length > left ? `${text.slice(0, left)} …` : text;
    left -= text.length;
    const before = i === 0 ? [] : [{ text: '\n', marked: false }];
    if (field === undefined) return [...before, { text: cut, marked: false }];
    return [...before, { text: field, marked: true }, { text: ` ${cut}`, marked: false }];
  });
}
