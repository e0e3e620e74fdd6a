/** Calibration of reward models, and density ratios of BCO's prompts. */
import { describe, expect, it } from 'vitest';
import { DataRandom } from '../../src/data/random.ts';
import { sigmoid } from '../../src/objectives/numerics.ts';
import { calibrate, calibrationReport } from '../../src/preference/calibration.ts';
import { densityRatios, logisticRegression } from '../../src/preference/density_ratio.ts';

const random = new DataRandom('calibration');
const uniform = () => random.next() / 2 ** 32;
/** Normal by Box and Muller. */
const normal = () => Math.sqrt(-2 * Math.log(uniform() + 1e-12)) * Math.cos(2 * Math.PI * uniform());

describe('calibration', () => {
  /** Differences of a model that is right as often as sigmoid(|d|) says, made `factor` times as certain. */
  const differences = (factor: number) =>
    Array.from({ length: 20_000 }, () => {
      const d = Math.abs(2 * normal());
      return factor * (uniform() < sigmoid(d) ? d : -d);
    });

  it('finds a calibrated model calibrated, and a boastful one not', () => {
    const honest = calibrate(differences(1));
    expect(honest.ece).toBeLessThan(0.02);
    for (const { confidence, accuracy } of honest.bins)
      expect(Math.abs(confidence - accuracy)).toBeLessThan(0.05);
    const boastful = calibrate(differences(3));
    expect(boastful.ece).toBeGreaterThan(0.08);
    expect(boastful.accuracy).toBeCloseTo(honest.accuracy, 1);
  });

  it('counts by hand', () => {
    // Confidences: sigmoid(1) = 0.731, sigmoid(2) = 0.881, sigmoid(0) = 0.5 (a tie is not right).
    const result = calibrate([1, -1, 2, 0]);
    expect(result.bins.map(({ pairs, accuracy }) => [pairs, accuracy])).toEqual([
      [1, 0],
      [2, 0.5],
      [1, 1],
    ]);
    expect(result.accuracy).toBe(0.5);
    expect(result.margin).toBe(0.5);
    const [c1, c2] = [sigmoid(1), sigmoid(2)];
    expect(result.ece).toBeCloseTo((0.5 + 2 * Math.abs(c1 - 0.5) + (1 - c2)) / 4, 12);
    expect(result.loss).toBeCloseTo(
      -(Math.log(c1) + Math.log(1 - c1) + Math.log(c2) + Math.log(0.5)) / 4,
      12,
    );
    const report = calibrationReport('reward', result);
    expect(report.title).toBe(
      `reward: 50.0% of 4 held-out pairs in order, ECE ${(100 * result.ece).toFixed(1)}%`,
    );
    expect(report.rows[0]).toEqual(['50.0% to 55.0%', 1, '50.0%', '0.0%']);
  });

  it('takes differences beyond every scale', () => {
    expect(calibrate([1e4, -1e4])).toMatchObject({ pairs: 2, accuracy: 0.5, loss: 5000 });
  });
});

describe('density ratios', () => {
  it('are those of the densities that prompts were drawn from', () => {
    // Means +1/2 and -1/2, variance 1: the log ratio at x is x.
    const draw = (count: number, mean: number) => Array.from({ length: count }, () => [mean + normal()]);
    const [good, bad] = [draw(4000, 0.5), draw(1000, -0.5)];
    const weights = logisticRegression(good, bad);
    expect(weights[0]).toBeCloseTo(1, 0);
    expect(Math.abs(weights[1]!)).toBeLessThan(0.1);
    const ratios = densityRatios(good, bad, [[-9], [0], [1], [9]], { lowest: 0.5, highest: 10 });
    expect(ratios[0]).toBe(0.5);
    expect(ratios[1]).toBeCloseTo(1, 0);
    expect(ratios[2]).toBeCloseTo(Math.E, 0);
    expect(ratios[3]).toBe(10);
  });

  it('stay finite where the classes are apart, or the coordinates are the same', () => {
    const weights = logisticRegression(
      [
        [100, 100],
        [101, 101],
      ],
      [[-100, -100]],
    );
    expect(weights.every(Number.isFinite)).toBe(true);
    expect(weights[0]).toBeCloseTo(weights[1]!, 8);
  });
});
