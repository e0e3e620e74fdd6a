/**
 * How well a reward model orders answers that it has not seen, and how far its certainty can be believed. By
 * Bradley-Terry the better answer of a pair wins with probability sigmoid(difference of values); of the answer that
 * the model prefers, this is its confidence, from one half to one. A calibrated model is right as often as it is
 * confident: the reliability table compares the two by bins, and the expected calibration error (Guo et al. 2017) is
 * their mean distance, weighted by the pairs in each bin.
 */
import type { EventBody } from '../../proto/events.ts';
import { logSigmoid, sigmoid, sum } from '../objectives/numerics.ts';

const BINS = 10;

export interface ReliabilityBin {
  /** Confidences of the bin, up to the next one's lowest. */
  lowest: number;
  pairs: number;
  confidence: number;
  accuracy: number;
}

export interface Calibration {
  pairs: number;
  accuracy: number;
  /** Mean of -log sigmoid(better - worse). */
  loss: number;
  /** Mean difference of the values. */
  margin: number;
  /** Expected calibration error. */
  ece: number;
  /** Those with pairs. */
  bins: ReliabilityBin[];
}

/** Judges differences of values: the better answer's less the worse one's, of each pair. */
export function calibrate(differences: readonly number[]): Calibration {
  const bins = Array.from({ length: BINS }, (_, i) => ({
    lowest: 0.5 + i / (2 * BINS),
    confidences: [] as number[],
    right: 0,
  }));
  for (const difference of differences) {
    const confidence = sigmoid(Math.abs(difference));
    const bin = bins[Math.min(BINS - 1, Math.floor((confidence - 0.5) * 2 * BINS))]!;
    bin.confidences.push(confidence);
    if (difference > 0) bin.right += 1;
  }
  const n = differences.length;
  const filled = bins
    .filter(({ confidences }) => confidences.length > 0)
    .map(({ lowest, confidences, right }) => ({
      lowest,
      pairs: confidences.length,
      confidence: sum(confidences) / confidences.length,
      accuracy: right / confidences.length,
    }));
  return {
    pairs: n,
    accuracy: differences.filter((difference) => difference > 0).length / n,
    loss: -sum(differences.map(logSigmoid)) / n,
    margin: sum(differences) / n,
    ece: sum(filled.map(({ pairs, confidence, accuracy }) => pairs * Math.abs(confidence - accuracy))) / n,
    bins: filled,
  };
}

/** The calibration as the report of a stage. */
export function calibrationReport(stage: string, result: Calibration): EventBody<'report'> {
  const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
  const last = 0.5 / BINS;
  return {
    stage,
    title: `${stage}: ${percent(result.accuracy)} of ${result.pairs} held-out pairs in order, ECE ${percent(result.ece)}`,
    columns: ['confidence', 'pairs', 'mean confidence', 'accuracy'],
    rows: result.bins.map(({ lowest, pairs, confidence, accuracy }) => [
      `${percent(lowest)} to ${percent(lowest + last)}`,
      pairs,
      percent(confidence),
      percent(accuracy),
    ]),
    examples: [],
  };
}
