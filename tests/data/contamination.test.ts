/** Overlap with evaluation sets against brute force over strings; what is cut; what is stored and looked up. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Decontamination } from '../../src/data/dedup/decontamination.ts';
import { overlapOf, overlapSchema } from '../../src/data/dedup/overlap.ts';
import { overlapSections } from '../../src/data/dedup/report.ts';
import { decontaminationSettings } from '../../src/data/dedup/settings.ts';
import { DataRandom } from '../../src/data/random.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { documentOf, type TextBatch, textBatch } from '../../src/native/text_batch.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const addon = loadAddon();

const wordsOf = (text: string): string[] =>
  text.replace(/[A-Z]/g, (c) => c.toLowerCase()).match(/[\p{Script=Han}]|[\p{L}\p{M}\p{N}]+/gu) ?? [];
const gramsOf = (words: string[], n: number): Set<string> =>
  new Set(words.length < n ? [] : words.slice(n - 1).map((_, i) => words.slice(i, i + n).join(' ')));
const documentsOf = (batch: TextBatch) =>
  Array.from(batch.ends, (_, i) => Buffer.from(documentOf(batch, i)).toString());

/** Shares by looking for every n-gram in every document. */
function reference(rows: { text: string; set: number }[], documents: string[], n: number, least: number) {
  return documents.map((document) => {
    const words = wordsOf(document);
    return rows.map(({ text }) => {
      const row = wordsOf(text);
      const length = Math.min(n, row.length);
      const grams = row.length < least ? new Set<string>() : gramsOf(row, length);
      const of = gramsOf(words, length);
      const shared = [...grams].filter((gram) => of.has(gram)).length;
      const exact = row.length > 0 && row.join(' ') === words.join(' ');
      return { shared, exact, share: exact ? 1 : grams.size === 0 ? 0 : shared / grams.size };
    });
  });
}

describe('overlap', () => {
  const random = new DataRandom('overlap');
  const lexicon = ['a', 'B', 'c,', 'd', 'éa', '東', 'x1', 'Y'];
  const text = (words: number) =>
    Array.from({ length: words }, () => lexicon[random.below(lexicon.length)]!).join(' ');
  const rows = Array.from({ length: 60 }, (_, i) => ({ text: text(random.below(12)), set: i < 35 ? 0 : 1 }));
  const documents = Array.from({ length: 200 }, (_, i) => {
    if (i % 9 === 0) return rows[random.below(60)]!.text.toUpperCase().replace(/É/g, 'é');
    const row = rows[random.below(60)]!.text.split(' ');
    return `${text(random.below(30))}. ${row.slice(random.below(4)).join('\n')} ${text(random.below(10))}`;
  });
  const [n, least] = [5, 3];
  const expected = reference(rows, documents, n, least);

  async function filled(threads: number) {
    const contamination = addon.createContamination({ ngram: n, minWords: least, sets: 2, threads });
    for (const set of [0, 1]) {
      await contamination.add(textBatch(rows.filter((row) => row.set === set).map((row) => row.text)), set);
    }
    return contamination;
  }

  it('is that of brute force, by document and by row, whatever the threads and batches', async () => {
    for (const [threads, border] of [
      [1, 200],
      [3, 77],
    ] as const) {
      const contamination = await filled(threads);
      const shares: number[] = [];
      for (const part of [documents.slice(0, border), documents.slice(border)]) {
        const checked = await contamination.check(textBatch(part), { threshold: 0.5 });
        shares.push(...checked.shares);
        await contamination.tally(checked.documents, checked.grams);
      }
      expect(shares).toEqual(
        expected.flatMap((of) =>
          [0, 1].map((set) => Math.max(...of.filter((_, row) => rows[row]!.set === set).map((r) => r.share))),
        ),
      );
      const overlap = await contamination.overlap();
      const by = (row: number) => expected.map((of) => of[row]!);
      rows.forEach((_, row) => {
        const found = {
          documents: overlap.documents[row],
          exact: overlap.exact[row],
          best: overlap.best[row],
        };
        expect(found).toEqual({
          documents: by(row).filter(({ shared, exact }) => shared > 0 || exact).length,
          exact: by(row).filter(({ exact }) => exact).length,
          best: Math.max(...by(row).map(({ share }) => share)),
        });
      });
      expect(Math.max(...overlap.exact)).toBeGreaterThan(0);
      expect(Math.max(...overlap.share)).toBe(1);
    }
  });

  it('counts only the documents that are told to stay', async () => {
    const contamination = await filled(1);
    const { documents: owners, grams } = await contamination.check(textBatch(documents), { threshold: 0.5 });
    const kept = [...owners.keys()].filter((i) => owners[i]! < 50);
    await contamination.tally(
      Uint32Array.from(kept, (i) => owners[i]!),
      Uint32Array.from(kept, (i) => grams[i]!),
    );
    const overlap = await contamination.overlap();
    expect([...overlap.documents]).toEqual(
      rows.map(
        (_, row) => expected.slice(0, 50).filter((of) => of[row]!.shared > 0 || of[row]!.exact).length,
      ),
    );
    await expect(contamination.add(textBatch(['late']), 0)).rejects.toThrow(/after the first check/);
    await expect(contamination.tally(Uint32Array.of(0), Uint32Array.of(1 << 30))).rejects.toThrow(/n-gram/);
  });
});

describe('a decontamination', () => {
  const question = 'What is the name of the river that flows through the old town of Bamberg?';
  const file = join(folder.path, 'eval.jsonl');
  const evaluation = [
    { prompt: question, answer: 'The Regnitz' },
    { prompt: 'How many legs does a spider have in all?', answer: 'Eight' },
    { prompt: 'Capital of Peru?', answer: 'Lima' },
  ];
  writeFileSync(file, evaluation.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const filler = (seed: number, words: number) => {
    const random = new DataRandom(`filler${seed}`);
    return Array.from({ length: words }, () => `w${random.below(5000)}`).join(' ');
  };
  const documents = [
    filler(1, 300),
    `${filler(2, 200)} -- ${question.toUpperCase()} (the Regnitz) ${filler(3, 200)}`,
    'capital of PERU: lima!',
    `${filler(4, 20)} the river that flows through the old town of Bamberg, said ${filler(5, 20)}`,
  ];
  const open = (settings: object) =>
    Decontamination.open(
      decontaminationSettings.parse({ sets: [{ name: 'quiz', files: [file] }], ...settings }),
      {
        addon,
        threads: 2,
        stage: 'prepare',
        baseDir: '/',
      },
    );

  it('finds rows in other case and punctuation, and short ones where nothing else stands', async () => {
    const checked = await (await open({})).check(textBatch(documents));
    expect([...checked.contaminated]).toEqual([0, 1, 1, 0]);
    expect([...checked.set]).toEqual([-1, 0, 0, -1]);
    expect(checked.share[1]).toBe(1);
    const fine = await (await open({ ngram: 8, threshold: 0.1 })).check(textBatch(documents));
    expect([...fine.contaminated]).toEqual([0, 1, 1, 1]);
  });

  it('cuts what is shared and a margin, at borders of words', async () => {
    const checked = await (await open({ action: 'cut' })).check(textBatch(documents));
    const [first, second, third, fourth] = documentsOf(checked.texts!);
    expect([first, third, fourth]).toEqual([documents[0], '', documents[3]]);
    expect(second).not.toMatch(/river|regnitz/i);
    const pieces = second!.split('\n\n');
    expect(pieces.length).toBe(2);
    const whole = documents[1]!;
    expect(whole.startsWith(pieces[0]!)).toBe(true);
    expect(whole.endsWith(pieces[1]!)).toBe(true);
    const [begin, end] = [whole.indexOf('WHAT'), whole.indexOf('Regnitz') + 7];
    expect(begin - pieces[0]!.length).toBeLessThanOrEqual(200);
    expect(begin - pieces[0]!.length).toBeGreaterThan(190);
    const after = whole.length - pieces[1]!.length - end;
    expect(after).toBeLessThanOrEqual(200);
    expect(after).toBeGreaterThan(190);
    // The words around the cut are whole.
    expect(whole[pieces[0]!.length - 1]).toBe(' ');
    expect(pieces[1]![0]).toBe(' ');
  });

  it('stores what the dataset still shares, which evaluations look up by the rows themselves', async () => {
    const decontamination = await open({ action: 'report' });
    const checked = await decontamination.check(textBatch(documents));
    await decontamination.tally(checked.documents, checked.grams);
    const overlap = overlapSchema.parse(JSON.parse(JSON.stringify(await decontamination.overlap())));
    expect(overlap.sets[0]).toMatchObject({
      name: 'quiz',
      contaminated: 2,
      rows: [
        { row: 0, documents: 1, exact: 0, share: 1, best: 1 },
        { row: 2, documents: 1, exact: 1, share: 1, best: 1 },
      ],
    });
    const [a, b, c] = overlap.sets[0]!.keys;
    expect(overlapOf([c!, 'unknown', b!, a!], overlap)).toEqual({
      compared: [true, false, true, true],
      contaminated: [true, false, false, true],
    });
    expect(overlapSections(overlap)[0]).toMatchObject({ rows: [['quiz', 3, 2, 2, 1]] });
  });

  it('refuses what cannot be', async () => {
    await expect(open({ min_words: 14 })).rejects.toMatchObject({ path: 'decontamination.min_words' });
    await expect(open({ sets: [{ files: ['/nowhere.jsonl'] }] })).rejects.toMatchObject({
      code: 'file_not_found',
    });
  });
});
