/** Rows whose text matches a regular expression, with what was found marked in the text around it. */
import type { DataQueryOf } from '../../../proto/data.ts';
import { AnnealError } from '../../../proto/errors.ts';
import type { Page, SectionOf } from '../../../proto/page.ts';
import { type QueryContext, readPlace } from './place.ts';

/** Characters shown on either side of what was found. */
const AROUND = 100;
/** Finds of one text that are marked. */
const MOST_FINDS = 5;

export async function grep(ask: DataQueryOf<'grep'>, context: QueryContext): Promise<Page> {
  const pattern = compile(ask.pattern, ask.ignore_case ? 'giu' : 'gu');
  const found: SectionOf<'rows'>['rows'] = [];
  let rows = 0;
  let matching = 0;
  for await (const group of readPlace(ask.in, context)) {
    for (const { origin, texts } of group) {
      rows += 1;
      let matches = false;
      for (const { field, text } of texts) {
        const spans = findSpans(text, pattern);
        if (spans.length === 0) continue;
        matches = true;
        if (found.length < ask.limit)
          found.push({ origin, ...(field === undefined ? {} : { label: field }), spans });
      }
      if (matches) matching += 1;
    }
  }
  return {
    title: `/${ask.pattern}/ in ${ask.in.join(', ')}`,
    sections: [
      {
        kind: 'facts',
        title: 'Found',
        facts: [
          { name: 'rows', value: rows },
          { name: 'matching', value: matching },
        ],
      },
      {
        kind: 'rows',
        title: 'Matches',
        ...(matching > found.length ? { note: `The first ${found.length}; --limit shows more.` } : {}),
        rows: found,
      },
    ],
  };
}

function compile(source: string, flags: string): RegExp {
  try {
    return new RegExp(source, flags);
  } catch (error) {
    throw new AnnealError('bad_request', `The pattern cannot be used: ${(error as Error).message}`, {
      path: 'pattern',
      hint: 'It is a regular expression of JavaScript; put a backslash before a sign that means itself.',
      cause: error,
    });
  }
}

/** The text around the first finds, what was found marked; pieces that are left out are dots. */
export function findSpans(text: string, pattern: RegExp): { text: string; marked: boolean }[] {
  const spans: { text: string; marked: boolean }[] = [];
  const plain = (from: number, to: number) => {
    if (to > from) spans.push({ text: text.slice(from, to), marked: false });
  };
  let end = 0;
  let finds = 0;
  pattern.lastIndex = 0;
  for (const match of text.matchAll(pattern)) {
    if (match[0] === '') continue;
    if (finds++ === MOST_FINDS) break;
    const from = Math.max(end, match.index - AROUND);
    if (end > 0 && from > end + AROUND) {
      plain(end, end + AROUND);
      spans.push({ text: ' … ', marked: false });
      plain(from, match.index);
    } else if (end > 0) {
      plain(end, match.index);
    } else {
      if (from > 0) spans.push({ text: '… ', marked: false });
      plain(from, match.index);
    }
    spans.push({ text: match[0], marked: true });
    end = match.index + match[0].length;
  }
  if (end === 0) return [];
  plain(end, Math.min(text.length, end + AROUND));
  if (end + AROUND < text.length) spans.push({ text: ' …', marked: false });
  return spans;
}
