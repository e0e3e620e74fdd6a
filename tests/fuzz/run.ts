/** Runs a target over many inputs and says which of them it does not bear. */
import { AnnealError } from '../../proto/errors.ts';
import { mutated } from './mutate.ts';
import type { Target } from './target.ts';

/** An input that gave something else than records or an AnnealError. */
export interface Finding {
  number: number;
  problem: string;
}

export interface FuzzReport {
  inputs: number;
  /** Inputs that were refused. */
  errors: number;
  /** Content that the others gave. */
  contentBytes: number;
  /** Of the processor: machines may be busy with other things. */
  slowestMs: number;
  slowest: number;
  findings: Finding[];
}

/** Inputs have up to 64 kB; content may grow freely up to 64 MB. */
const MAX_CONTENT_BYTES = 200 << 20;
const MAX_FINDINGS = 10;

/** Input `number` of a seed. Every other one is mended, where a target can, so that damage gets behind its checks. */
export function inputOf({ corpus, words, mend }: Target, seed: number, number: number): Buffer {
  const bytes = mutated(seed, number, corpus, words);
  return mend !== undefined && number % 2 === 1 ? mend(bytes) : bytes;
}

/**
 * Runs inputs `from` up to `from + inputs`, each announced to `begins`; one that takes longer than `maxInputMs` of the
 * processor is a finding.
 */
export async function fuzz(
  target: Target,
  seed: number,
  from: number,
  inputs: number,
  maxInputMs = Number.POSITIVE_INFINITY,
  begins: (number: number) => void = () => undefined,
): Promise<FuzzReport> {
  const report: FuzzReport = {
    inputs: 0,
    errors: 0,
    contentBytes: 0,
    slowestMs: 0,
    slowest: from,
    findings: [],
  };
  let current = from;
  const find = (problem: string): void => {
    report.findings.push({ number: current, problem });
  };
  // A promise that nobody waits for is as bad as an exception.
  const unhandled = (error: unknown): void => {
    if (!target.leavesPromises) find(`unhandled: ${describe(error)}`);
  };
  process.on('unhandledRejection', unhandled);
  try {
    for (; current < from + inputs && report.findings.length < MAX_FINDINGS; current++) {
      begins(current);
      const bytes = inputOf(target, seed, current);
      const start = process.cpuUsage();
      try {
        const size = await target.run(bytes, current);
        report.contentBytes += size;
        if (size > MAX_CONTENT_BYTES) find(`${bytes.length} bytes gave ${size}`);
      } catch (error) {
        report.errors += 1;
        if (!(error instanceof AnnealError)) find(describe(error));
      }
      const { user, system } = process.cpuUsage(start);
      const ms = (user + system) / 1000;
      if (ms > report.slowestMs) {
        report.slowestMs = ms;
        report.slowest = current;
      }
      if (ms > maxInputMs) find(`took ${Math.round(ms)} ms`);
      report.inputs += 1;
    }
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off('unhandledRejection', unhandled);
  }
  return report;
}

function describe(error: unknown): string {
  return error instanceof Error
    ? (error.stack ?? error.message).split('\n').slice(0, 6).join('\n')
    : String(error);
}
