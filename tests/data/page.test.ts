/** Pages about data: lengths counted in bounded memory, and both ways of showing a page. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Page, pageSchema } from '../../proto/page.ts';
import { displayWidth, painter } from '../../src/cli/text.ts';
import { renderPage } from '../../src/cli/view/page.ts';
import { LengthHistogram } from '../../src/data/page/histogram.ts';
import { pageHtml } from '../../src/data/page/html.ts';

const LENGTHS = fc.array(fc.integer({ min: 0, max: 1_000_000 }), { minLength: 1, maxLength: 200 });

function histogramOf(lengths: number[]): LengthHistogram {
  const histogram = new LengthHistogram();
  for (const length of lengths) histogram.add(length);
  return histogram;
}

describe('lengths', () => {
  it('have quantiles to within a tenth', () => {
    fc.assert(
      fc.property(LENGTHS, fc.constantFrom(0.1, 0.5, 0.9, 0.99, 1), (lengths, share) => {
        const sorted = lengths.toSorted((a, b) => a - b);
        const exact = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
        const got = histogramOf(lengths).quantile(share);
        expect(Math.abs(got - exact)).toBeLessThanOrEqual(Math.max(1, 0.1 * exact));
      }),
    );
  });

  it('of parts, merged in any order, are those of the whole', () => {
    fc.assert(
      fc.property(LENGTHS, LENGTHS, (first, second) => {
        const whole = histogramOf([...first, ...second]).stored();
        const merged = LengthHistogram.from(histogramOf(second).stored());
        merged.merge(histogramOf(first).stored());
        expect(merged.stored()).toEqual(whole);
      }),
    );
  });

  it('fall into octaves that count each once', () => {
    const { bins, summary } = histogramOf([0, 1, 2, 3, 4, 7, 8, 1023, 1024]).section('Lengths', 'tokens');
    expect(bins.filter(({ count }) => count > 0)).toEqual([
      { from: 0, to: 0, count: 1 },
      { from: 1, to: 1, count: 1 },
      { from: 2, to: 3, count: 2 },
      { from: 4, to: 7, count: 2 },
      { from: 8, to: 15, count: 1 },
      { from: 512, to: 1023, count: 1 },
      { from: 1024, to: 2047, count: 1 },
    ]);
    expect(summary).toMatchObject({ count: 9, min: 0, max: 1024, mean: 2072 / 9 });
    expect(new LengthHistogram().section('Nothing', 'bytes')).toMatchObject({ bins: [], summary: null });
  });
});

const page: Page = {
  title: 'web.jsonl',
  sections: [
    {
      kind: 'facts',
      title: 'What it holds',
      note: 'Of the whole file.',
      facts: [
        { name: 'rows', value: 1234567 },
        { name: 'shape', value: 'messages', note: 'as OpenAI has them' },
        { name: 'language', value: null },
        { name: 'misfits', value: 3, note: 'Name their fields in the recipe: `fields: { text: body }`.' },
      ],
    },
    { kind: 'table', title: 'Fields', columns: ['field', 'rows', 'share'], rows: [['text', 12, 0.5]] },
    { kind: 'table', title: 'Dropped', columns: ['rule', 'rows'], rows: [] },
    histogramOf([1, 2, 2, 3, 900]).section('Lengths', 'tokens', 'A document each.'),
    {
      kind: 'rows',
      title: 'Examples',
      rows: [
        {
          origin: 'web.jsonl:3',
          label: 'gopher_quality',
          spans: [
            { text: 'Paris & <script>alert(1)</script> ', marked: false },
            { text: 'is "found"', marked: true },
          ],
        },
      ],
    },
  ],
};

describe('a page', () => {
  const plain = painter(false);

  it('is what the schema says', () => {
    expect(pageSchema.parse(page)).toEqual(page);
  });

  it('in the terminal', () => {
    expect(renderPage(page, { width: 60, paint: plain, color: false }).join('\n')).toMatchInlineSnapshot(`
      "── What it holds ────────────────────────
      Of the whole file.
      rows      1,234,567
      shape     messages  as OpenAI has them
      language  -
      misfits   3
                Name their fields in the recipe: \`fields: { text:
                body }\`.

      ── Fields ────────────────────────
      field  rows  share
      text     12  0.500

      ── Dropped ────────────────────────
      (none)

      ── Lengths ────────────────────────
      A document each.
              1  1 ███████████████▍
            2–3  3 ██████████████████████████████████████████████
            4–7  0
           8–15  0
          16–31  0
          32–63  0
         64–127  0
        128–255  0
        256–511  0
      512–1.02k  1 ███████████████▍
      5 counted, in tokens: mean 182 · min 1 · p50 2 · p90 900 ·
      p99 900 · max 900

      ── Examples ────────────────────────
      web.jsonl:3  gopher_quality
      │ Paris & <script>alert(1)</script> [is "found"]
      "
    `);
  });

  it('is never wider than the terminal', () => {
    for (let width = 20; width < 120; width += 7) {
      for (const line of renderPage(page, { width, paint: plain, color: false }))
        expect(displayWidth(line)).toBeLessThanOrEqual(width);
    }
  });

  it('as a file escapes what comes from data', () => {
    const html = pageHtml(page);
    expect(html).toContain(
      'Paris &amp; &lt;script&gt;alert(1)&lt;/script&gt; <mark>is &quot;found&quot;</mark>',
    );
    expect(html).not.toContain('<script');
    expect(html).toContain('1,234,567');
    expect(html.match(/<rect /g)?.length).toBe(10);
  });
});
