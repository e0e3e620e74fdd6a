/** The generator of corpora: what it keeps of its source, and that it gives the same bytes again. */
import { expect, test } from 'vitest';
import { CorpusModel } from '../../scripts/corpus/model.ts';
import { generatedText } from './stage_context.ts';

const PASSAGES = Array.from({ length: 50 }, (_, i) => generatedText(i, 600));

function documents(count: number, options = { seed: 1, duplicates: 0 }): string[] {
  const model = new CorpusModel('english', PASSAGES, options);
  return Array.from({ length: count }, (_, i) => Buffer.from(model.document(i)).toString());
}

test('a document depends on the seed and its number alone', () => {
  const some = documents(20);
  const model = new CorpusModel('english', PASSAGES, { seed: 1, duplicates: 0 });
  expect(Buffer.from(model.document(13)).toString()).toBe(some[13]);
  expect(new Set(some).size).toBe(20);
  expect(documents(1, { seed: 2, duplicates: 0 })[0]).not.toBe(some[0]);
});

test('words keep their frequencies', () => {
  const shares = (texts: string[]): Map<string, number> => {
    const words = texts.join('\n').match(/\p{L}+/gu)!;
    const found = new Map<string, number>();
    for (const word of words) found.set(word, (found.get(word) ?? 0) + 1 / words.length);
    return found;
  };
  const wanted = shares(PASSAGES);
  const got = shares(documents(300));
  const frequent = [...wanted].sort((a, b) => b[1] - a[1]).slice(0, 10);
  for (const [word, share] of frequent) expect(got.get(word)! / share, word).toBeCloseTo(1, 0);
});

test('a share of the documents are copies, some of them edited', () => {
  const copied = documents(400, { seed: 1, duplicates: 0.5 });
  const exact = 400 - new Set(copied).size;
  const starts = 400 - new Set(copied.map((text) => text.slice(0, 100))).size;
  expect(exact).toBeGreaterThan(20);
  expect(starts).toBeGreaterThan(exact);
  expect(starts).toBeLessThan(250);
});
