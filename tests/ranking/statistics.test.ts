/** Agreement and strengths against published worked examples. */
import { describe, expect, it } from 'vitest';
import { DataRandom } from '../../src/data/random.ts';
import { krippendorffAlpha } from '../../src/ranking/agreement.ts';
import {
  bradleyTerry,
  type Comparison,
  modelStrengths,
  type Strength,
} from '../../src/ranking/bradley_terry.ts';

/** Krippendorff 2011: four observers, twelve units, values missing. */
const OBSERVERS = [
  [1, 2, 3, 3, 2, 1, 4, 1, 2, null, null, null],
  [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, null, 3],
  [null, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, null],
  [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, null],
];
const UNITS = OBSERVERS[0]!.map((_, unit) => OBSERVERS.map((values) => values[unit]!));

/** Wins of American League teams over each other in 1987 (Agresti, Categorical Data Analysis). */
const TEAMS = ['Milwaukee', 'Detroit', 'Toronto', 'New York', 'Boston', 'Cleveland', 'Baltimore'];
const WINS = [
  [0, 7, 9, 7, 7, 9, 11],
  [6, 0, 7, 5, 11, 9, 9],
  [4, 6, 0, 7, 7, 8, 12],
  [6, 8, 6, 0, 6, 7, 10],
  [6, 2, 6, 7, 0, 7, 12],
  [4, 4, 5, 6, 6, 0, 6],
  [2, 4, 1, 3, 1, 7, 0],
];
/** Estimates and standard errors relative to Baltimore, as printed with R's BradleyTerry2 (Turner and Firth 2012). */
const PUBLISHED: Record<string, [number, number]> = {
  Boston: [1.1077, 0.3339],
  Cleveland: [0.6839, 0.3319],
  Detroit: [1.4364, 0.3396],
  Milwaukee: [1.5814, 0.3433],
  'New York': [1.2476, 0.3359],
  Toronto: [1.2945, 0.3367],
};

describe("Krippendorff's alpha", () => {
  it('gives the values of the published example', () => {
    expect(krippendorffAlpha(UNITS, 'nominal')).toBeCloseTo(0.743, 3);
    expect(krippendorffAlpha(UNITS, 'ordinal')).toBeCloseTo(0.815, 3);
  });

  it('is 1 for observers who agree, below 0 for those who oppose, undefined where nothing can be compared', () => {
    expect(
      krippendorffAlpha(
        [
          [1, 1],
          [2, 2],
          [3, null],
        ],
        'ordinal',
      ),
    ).toBe(1);
    expect(
      krippendorffAlpha(
        [
          [1, 2],
          [2, 1],
        ],
        'nominal',
      ),
    ).toBeLessThan(0);
    expect(
      krippendorffAlpha(
        [
          [1, null],
          [null, 2],
        ],
        'nominal',
      ),
    ).toBeUndefined();
    expect(
      krippendorffAlpha(
        [
          [1, 1],
          [1, 1],
        ],
        'ordinal',
      ),
    ).toBeUndefined();
    expect(krippendorffAlpha([], 'nominal')).toBeUndefined();
  });
});

describe('Bradley-Terry', () => {
  it('gives the published strengths of a season of baseball', () => {
    const scores = bradleyTerry(WINS)!;
    const last = scores[TEAMS.indexOf('Baltimore')]!;
    for (const [team, [estimate]] of Object.entries(PUBLISHED))
      expect(scores[TEAMS.indexOf(team)]! - last).toBeCloseTo(estimate, 3);
    expect(scores.reduce((sum, x) => sum + x, 0)).toBeCloseTo(0, 8);
  });

  it('has intervals as wide as the likelihood says where each comparison is a prompt of its own', () => {
    const games: Comparison[][] = WINS.flatMap((row, winner) =>
      row.flatMap((wins, loser) => Array.from({ length: wins }, () => [{ winner, loser, wins: 1 }])),
    );
    const strengths = modelStrengths(games, TEAMS.length, 1)!;
    const deviations = informationDeviations(bradleyTerry(WINS)!);
    strengths.forEach(({ low, high, score }, i) => {
      expect(low).toBeLessThan(score);
      expect(high).toBeGreaterThan(score);
      const ratio = (high - low) / (2 * 1.96 * deviations[i]!);
      expect(ratio).toBeGreaterThan(0.85);
      expect(ratio).toBeLessThan(1.15);
    });
  });

  it('is wider where the comparisons of a prompt go together', () => {
    const random = new DataRandom('clusters');
    const prompts = Array.from({ length: 60 }, () => {
      const [winner, loser] = random.below(3) < 2 ? [0, 1] : [1, 0];
      return Array.from({ length: 4 }, () => ({ winner, loser, wins: 1 }));
    });
    const apart = prompts.flat().map((comparison) => [comparison]);
    const width = (of: Comparison[][]) => {
      const { low, high } = modelStrengths(of, 2, 3)![0]!;
      return high - low;
    };
    expect(width(prompts) / width(apart)).toBeGreaterThan(1.6);
  });

  it('has the closed form of two models, and none where one never wins or was never met', () => {
    const [a, b] = bradleyTerry([
      [0, 30],
      [10, 0],
    ])!;
    expect(a! - b!).toBeCloseTo(Math.log(3), 8);
    expect(
      bradleyTerry([
        [0, 5],
        [0, 0],
      ]),
    ).toBeUndefined();
    expect(bradleyTerry([])).toBeUndefined();
    const always = Array.from({ length: 20 }, () => [{ winner: 0, loser: 1, wins: 1 }]);
    const [best] = modelStrengths(always, 2, 1) as [Strength, Strength];
    expect(best.score).toBeCloseTo(Math.log(20.5 / 0.5) / 2, 6);
    // Nothing says how much better it is, so the interval is wide, upwards most of all.
    expect(best.low).toBeLessThan(best.score - 0.4);
    expect(best.high).toBeGreaterThan(best.score + 1);
    expect(modelStrengths(always, 3, 1)).toBeUndefined();
  });
});

/** Standard deviations of strengths with mean 0, from the pseudo-inverse of the Fisher information. */
function informationDeviations(scores: readonly number[]): number[] {
  const count = scores.length;
  const information = scores.map(() => scores.map(() => 0));
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) {
      if (i === j) continue;
      const p = 1 / (1 + Math.exp(scores[j]! - scores[i]!));
      const games = WINS[i]![j]! + WINS[j]![i]!;
      information[i]![i]! += games * p * (1 - p);
      information[i]![j]! -= games * p * (1 - p);
    }
  }
  // (A + J/n)^-1 - J/n is the pseudo-inverse of a matrix whose rows add up to 0.
  const inverse = invert(information.map((row) => row.map((x) => x + 1 / count)));
  return scores.map((_, i) => Math.sqrt(inverse[i]![i]! - 1 / count));
}

function invert(matrix: number[][]): number[][] {
  const n = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let c = 0; c < n; c++) {
    const pivot = rows
      .slice(c)
      .reduce((best, row, k) => (Math.abs(row[c]!) > Math.abs(rows[best]![c]!) ? c + k : best), c);
    [rows[c], rows[pivot]] = [rows[pivot]!, rows[c]!];
    const scale = rows[c]![c]!;
    rows[c] = rows[c]!.map((x) => x / scale);
    rows.forEach((row, r) => {
      if (r !== c) rows[r] = row.map((x, k) => x - row[c]! * rows[c]![k]!);
    });
  }
  return rows.map((row) => row.slice(n));
}
