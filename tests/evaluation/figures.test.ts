/** The figures of comparisons, by cases worked by hand and by what must hold for any scores. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { divergence, meanScore, winRate } from '../../src/evaluation/compare.ts';
import { containsAnswer, isExactMatch, normaliseAnswer } from '../../src/evaluation/match.ts';
import { reportMarkdown } from '../../src/evaluation/report.ts';

const SCORES = fc.array(fc.option(fc.integer({ min: -2, max: 2 })), { maxLength: 12 });

describe('winRate', () => {
  it.each([
    ['two wins of four', [1, 2, 3, 4], [0, 1, 4, 5], 0.5],
    ['a tie is half a win', [1, 1], [1, 0], 0.75],
    ['all tied', [3, 3], [3, 3], 0.5],
    ['pairs in which one has no score are left out', [1, null, 5], [0, 1, null], 1],
    ['nothing to compare', [null], [1], null],
    ['no responses', [], [], null],
  ])('%s', (_, own, other, rate) => {
    expect(winRate(own, other)?.rate ?? null).toBe(rate);
  });

  it('and the rate of the other make 1', () => {
    fc.assert(
      fc.property(SCORES, SCORES, (own, other) => {
        const count = Math.min(own.length, other.length);
        const [a, b] = [own.slice(0, count), other.slice(0, count)];
        const rate = winRate(a, b);
        if (rate === null) expect(winRate(b, a)).toBeNull();
        else expect(rate.rate + winRate(b, a)!.rate).toBeCloseTo(1, 12);
      }),
    );
  });
});

describe('the error of a win rate', () => {
  it('is that of a mean over prompts with one response each', () => {
    // Wins 1, 0, 1, 1: mean 0.75, sample variance 0.25, error sqrt(0.25 / 4).
    const wins = winRate([1, 0, 1, 1], [0, 1, 0, 0])!;
    expect(wins.error).toBeCloseTo(Math.sqrt(0.25 / 4), 12);
  });

  it('does not shrink when each prompt has the same response many times', () => {
    const repeated = (values: number[]) => values.flatMap((value) => [value, value, value]);
    const once = winRate([1, 0, 1, 1], [0, 1, 0, 0])!;
    const thrice = winRate(repeated([1, 0, 1, 1]), repeated([0, 1, 0, 0]), 3)!;
    expect(thrice.rate).toBe(once.rate);
    expect(thrice.error).toBeCloseTo(once.error!, 12);
  });

  it('is unknown of one prompt, and leaves out prompts without scores', () => {
    expect(winRate([1, 1], [0, 2], 2)).toEqual({ rate: 0.5, error: null });
    expect(winRate([1, null], [0, 2])).toEqual({ rate: 1, error: null });
  });
});

it('meanScore is of the responses that have a score', () => {
  expect(meanScore([1, null, 2, 6])).toBe(3);
  expect(meanScore([null])).toBeNull();
  expect(meanScore([])).toBeNull();
});

it('divergence is the mean of the differences of log-probabilities', () => {
  // p and q over two responses: drawn from p in its own shares, the mean is KL(p || q).
  const [p, q] = [
    [0.75, 0.25],
    [0.5, 0.5],
  ];
  const drawn = [0, 0, 0, 1];
  const of = (shares: number[]) => Float64Array.from(drawn, (i) => Math.log(shares[i]!));
  const kl = p!.reduce((sum, share, i) => sum + share * Math.log(share / q![i]!), 0);
  expect(divergence(of(p!), of(q!))).toBeCloseTo(kl, 12);
  expect(divergence(of(p!), of(p!))).toBe(0);
  expect(divergence(new Float64Array(0), new Float64Array(0))).toBeNull();
});

describe('an answer', () => {
  it.each([
    ['The  Eiffel Tower!', 'eiffel tower'],
    ['A theory, an atom; the end.', 'theory atom end'],
    ['São Paulo', 'são paulo'],
    ['ﬁne', 'fine'],
    ['$5', '5'],
    ['', ''],
  ])('%j is compared as %j', (text, normal) => {
    expect(normaliseAnswer(text)).toBe(normal);
  });

  it('matches exactly whatever its form, and any of several', () => {
    expect(isExactMatch(' the Paris.', ['Paris'])).toBe(true);
    expect(isExactMatch('It is Paris.', ['Paris'])).toBe(false);
    expect(isExactMatch('two', ['2', 'Two!'])).toBe(true);
    expect(isExactMatch('Paris', [])).toBe(false);
  });

  it('is contained as whole words', () => {
    expect(containsAnswer('It is Paris, France.', ['paris'])).toBe(true);
    expect(containsAnswer('Parisian', ['paris'])).toBe(false);
    expect(containsAnswer('It is São Tomé!', ['são tomé', 'x'])).toBe(true);
    expect(containsAnswer('anything', ['!'])).toBe(false);
  });
});

it('a report is a page: numbers short, cells and quotes safe', () => {
  const page = reportMarkdown({
    stage: 's',
    title: 'Compared',
    columns: ['model', 'win_rate'],
    rows: [
      ['a|b', 2 / 3],
      ['c', null],
    ],
    examples: [{ prompt: 'Who?\n', expected: 'Anna', outputs: { a: 'one\ntwo', b: '' } }],
  });
  expect(page).toBe(
    '# Compared\n\n| model | win_rate |\n| --- | --- |\n| a\\|b | 0.6667 |\n| c |  |\n\n## Examples\n\n' +
      '**Who?** (Anna)\n\n> *a*: one\n> two\n>\n> *b*: \n\n\n',
  );
});

it('a report says what training data has of the rows, and how the others score', () => {
  const page = reportMarkdown({
    stage: 's',
    title: 'Asked',
    columns: ['model', 'rows'],
    rows: [['a', 3]],
    examples: [],
    overlap: {
      rows: 3,
      models: [
        {
          model: 'a',
          contaminated: 1,
          compared: [],
          not_checked: [],
          text: 'contaminated 1 of 3 rows (by j/prepare)',
        },
      ],
      others: [['a', 2]],
      hint: 'Do this.',
    },
  });
  expect(page).toBe(
    '# Asked\n\n| model | rows |\n| --- | --- |\n| a | 3 |\n\n## Overlap with training data\n\n' +
      '- *a*: contaminated 1 of 3 rows (by j/prepare)\n\nScores on the rows that are not contaminated:\n\n' +
      '| model | rows |\n| --- | --- |\n| a | 2 |\n\nDo this.\n\n',
  );
});
