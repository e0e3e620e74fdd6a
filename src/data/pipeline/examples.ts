/** A few duplicates with what stayed in their place, for people to look at. */

import type { Duplicates } from '../../native/dedup.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { DedupReport } from '../dedup/report.ts';
import { documentsOf, type MergeOptions } from './merge.ts';
import { UnitFileReader } from './unit_folder.ts';

/** Of each kind: equal documents, and near duplicates. */
const EXAMPLES = 2;
const EXCERPT_TOKENS = 48;

/** A document found by its number. */
interface Found {
  origin: string;
  excerpt: string;
}

export async function duplicateExamples(
  { dropped, exact, kept }: Duplicates,
  options: MergeOptions,
  tokenizer: Tokenizer,
): Promise<DedupReport['examples']> {
  const chosen: number[] = [];
  for (const kind of [1, 0]) {
    let left = EXAMPLES;
    for (let i = 0; i < dropped.length && left > 0; i++) {
      if (exact[i] !== kind || dropped[i]! >= options.maxDocuments) continue;
      chosen.push(i);
      left -= 1;
    }
  }
  const wanted = new Set(chosen.flatMap((i) => [dropped[i]!, kept[i]!]));
  const found = await findDocuments(wanted, options, tokenizer);
  return chosen.map((i) => {
    const { origin, excerpt } = found.get(dropped[i]!)!;
    return { dropped: origin, kept: found.get(kept[i]!)!.origin, exact: exact[i] === 1, excerpt };
  });
}

async function findDocuments(
  wanted: ReadonlySet<number>,
  options: MergeOptions,
  tokenizer: Tokenizer,
): Promise<Map<number, Found>> {
  const found = new Map<number, Found>();
  if (wanted.size === 0) return found;
  const { tokenBytes } = options;
  for await (const { of, unit, first, columns, idsStart } of documentsOf(options)) {
    const { tokens, places, parts } = columns;
    const here = [...wanted].filter((number) => number >= first && number < first + tokens.length);
    if (here.length > 0) {
      const reader = await UnitFileReader.open(of.done, 'ids.bin');
      try {
        let at = idsStart;
        for (let i = 0; i < tokens.length; i++) {
          if (here.includes(first + i)) {
            const bytes = await reader.read(at, Math.min(EXCERPT_TOKENS, tokens[i]!) * tokenBytes);
            const ids = tokenBytes === 2 ? new Uint16Array(bytes.buffer) : new Int32Array(bytes.buffer);
            const place = places[i]!;
            found.set(first + i, {
              origin: `${unit.parts[parts[i]!]!.name}:${place < 0 ? `@${-1 - place}` : place}`,
              excerpt: tokenizer.decode(ids, { skipSpecials: true }),
            });
          }
          at += tokens[i]! * tokenBytes;
        }
      } finally {
        await reader.close();
      }
    }
    if (found.size === wanted.size) break;
  }
  return found;
}
