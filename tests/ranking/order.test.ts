/** Rankings, scores and pairs: worked cases, and what must hold for any input. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  comparisons,
  makePairs,
  PAIRINGS,
  type Ranking,
  rankingOf,
  sameTexts,
  scoresOf,
} from '../../src/ranking/order.ts';
import { TaskList } from '../../src/ranking/tasks.ts';

const SCORES = fc.array(fc.option(fc.integer({ min: -3, max: 3 }).map((x) => x / 2)), { maxLength: 8 });
const TEXTS = fc.array(fc.constantFrom('', ' ', 'a', 'b', 'ä', '\u0000', '\x1b[2J', '👩‍👩‍👧', 'a\n'), {
  minLength: 1,
  maxLength: 7,
});

describe('rankings', () => {
  it('go by score, ties together, gaps left out', () => {
    expect(rankingOf([1, null, 3, 1, 2])).toEqual([[2], [4], [0, 3]]);
    expect(rankingOf([0.1 + 0.2, 0.3])).toEqual([[0, 1]]);
    expect(rankingOf([])).toEqual([]);
  });

  it('hold each scored response once, in falling order', () => {
    fc.assert(
      fc.property(SCORES, (scores) => {
        const ranking = rankingOf(scores);
        const scored = [...scores.keys()].filter((i) => scores[i] !== null);
        expect(ranking.flat().sort()).toEqual(scored);
        const levels = ranking.map((tier) => new Set(tier.map((i) => scores[i])));
        expect(levels.every((level) => level.size === 1)).toBe(true);
        const tops = ranking.map(([i]) => scores[i!]!);
        expect(tops).toEqual([...tops].sort((a, b) => b - a));
      }),
    );
  });

  it("make Borda's scores, of one opinion and of several", () => {
    expect(scoresOf([{ ranking: [[2], [0, 3], [1]], weight: 1 }], 5)).toEqual([0.5, 0, 1, 0.5, null]);
    const two = [
      { ranking: [[0], [1]], weight: 1 },
      { ranking: [[1], [0]], weight: 3 },
    ];
    expect(scoresOf(two, 2)).toEqual([0.25, 0.75]);
    expect(scoresOf([], 2)).toEqual([null, null]);
  });

  it('come back from the scores that they make', () => {
    const rankings = fc
      .tuple(
        fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 2 }),
        fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
      )
      .map(([order, joins]) => {
        const ranking: Ranking = [];
        order.forEach((i, k) => {
          if (k > 0 && joins[k]) ranking.at(-1)!.push(i);
          else ranking.push([i]);
        });
        return ranking.map((tier) => tier.sort((a, b) => a - b));
      });
    fc.assert(
      fc.property(rankings, (ranking) => {
        expect(rankingOf(scoresOf([{ ranking, weight: 1 }], 6))).toEqual(ranking);
        const count = ranking.flat().length;
        expect([...comparisons(ranking)].length).toBe((count * (count - 1)) / 2);
      }),
    );
  });
});

describe('pairs', () => {
  const texts = ['a', 'b', 'c', 'a', ' '];
  it('are all, neighbours, or best and worst; equal texts and empty chosen sides make none', () => {
    const scores = [3, 2, 1, 1, 4];
    const of = (how: (typeof PAIRINGS)[number], margin = 0) =>
      makePairs(texts, scores, how, margin).map(({ chosen, rejected }) => [chosen, rejected]);
    expect(of('all')).toEqual([
      [0, 1],
      [0, 2],
      [1, 2],
      [1, 3],
    ]);
    expect(of('all', 2)).toEqual([[0, 2]]);
    expect(of('adjacent')).toEqual([
      [0, 1],
      [1, 2],
      [1, 3],
    ]);
    expect(makePairs(['x', 'y', 'z'], [1, 2, 3], 'best_vs_worst', 0)).toEqual([
      { chosen: 2, rejected: 0, margin: 2 },
    ]);
    expect(makePairs(['x', 'y'], [1, 1], 'best_vs_worst', 0)).toEqual([]);
  });

  it('never oppose a score, repeat, or pair a text with itself', () => {
    fc.assert(
      fc.property(
        TEXTS,
        fc.infiniteStream(fc.option(fc.integer({ min: 0, max: 3 }))),
        fc.constantFrom(...PAIRINGS),
        (said, stream, how) => {
          const scores = [...stream.take(said.length)];
          const pairs = makePairs(said, scores, how, 0);
          for (const { chosen, rejected, margin } of pairs) {
            expect(scores[chosen]! - scores[rejected]!).toBe(margin);
            expect(margin).toBeGreaterThan(0);
            expect(said[chosen]).not.toBe(said[rejected]);
            expect(said[chosen]!.trim()).not.toBe('');
          }
          const keys = pairs.map(({ chosen, rejected }) => JSON.stringify([said[chosen], said[rejected]]));
          expect(new Set(keys).size).toBe(keys.length);
        },
      ),
    );
  });
});

describe('tasks', () => {
  const options = { dataset: 'd', labeller: 'ida', criteria: ['x', 'y'], pairwise: false };

  it('show each different text once, in an order of the labeller, the same for every criterion', () => {
    fc.assert(
      fc.property(fc.array(TEXTS, { maxLength: 4 }), fc.boolean(), (rows, pairwise) => {
        const all = rows.map((texts, i) => ({ id: String(i), texts }));
        const tasks = new TaskList(all, { ...options, pairwise });
        const seen = Array.from({ length: tasks.length }, (_, i) => tasks.at(i));
        for (const [i, { texts }] of all.entries()) {
          const groups = [...sameTexts(texts).keys()];
          for (const criterion of options.criteria) {
            const own = seen.filter((task) => task.row === i && task.criterion === criterion);
            const pairs = (groups.length * (groups.length - 1)) / 2;
            expect(own.length).toBe(groups.length < 2 ? 0 : pairwise ? pairs : 1);
            const named = own.map(({ shown }) => JSON.stringify([...shown].sort()));
            expect(new Set(named).size).toBe(own.length);
            expect(new Set(own.flatMap(({ shown }) => shown))).toEqual(new Set(own.length > 0 ? groups : []));
          }
        }
        for (let i = 0; i + 1 < seen.length; i += 2) expect(seen[i]!.shown).toEqual(seen[i + 1]!.shown);
      }),
      { numRuns: 60 },
    );
  });

  it('are shuffled by labeller', () => {
    const rows = Array.from({ length: 30 }, (_, i) => ({ id: String(i), texts: ['a', 'b', 'c', 'd'] }));
    const of = (labeller: string) => {
      const tasks = new TaskList(rows, { ...options, labeller });
      return Array.from({ length: tasks.length }, (_, i) => tasks.at(i).shown);
    };
    expect(of('ida')).toEqual(of('ida'));
    expect(of('ida')).not.toEqual(of('ben'));
    const first = of('ida').map(([place]) => place);
    for (const index of [0, 1, 2, 3]) expect(first.filter((x) => x === index).length).toBeGreaterThan(5);
  });
});
