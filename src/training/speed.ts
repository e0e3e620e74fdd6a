/**
 * Tokens a second, share of the machine's matrix speed, how long the engine waited for data, memory and time left:
 * told about once a second.
 */
import type { EventBody } from '../../proto/events.ts';

const INTERVAL_MS = 1_000;
/** Weight of the newest interval in the running mean. */
const SMOOTHING = 0.2;

export class SpeedMeter {
  readonly #flopsPerToken: number;
  readonly #matrixSpeed: number;
  #last = performance.now();
  #tokens = 0;
  #waitedMs: number | undefined;
  #rate: number | undefined;

  /** `matrixSpeed` in FLOP/s; 0 when it is not known. */
  constructor(flopsPerToken: number, matrixSpeed: number) {
    this.#flopsPerToken = flopsPerToken;
    this.#matrixSpeed = matrixSpeed;
  }

  /**
   * Counts trained tokens, and the time that the engine waited for them where it is known; now and then returns
   * figures to tell. `tokensLeft`: an estimate.
   */
  count(
    stage: string,
    tokens: number,
    tokensLeft: number,
    waitedMs: number | undefined,
  ): EventBody<'speed'> | undefined {
    this.#tokens += tokens;
    if (waitedMs !== undefined) this.#waitedMs = (this.#waitedMs ?? 0) + waitedMs;
    const now = performance.now();
    const elapsed = now - this.#last;
    if (elapsed < INTERVAL_MS) return undefined;
    const rate = (this.#tokens / elapsed) * 1_000;
    this.#rate = this.#rate === undefined ? rate : this.#rate + SMOOTHING * (rate - this.#rate);
    const waited = this.#waitedMs;
    this.#last = now;
    this.#tokens = 0;
    this.#waitedMs = undefined;
    return {
      stage,
      tokens_per_second: this.#rate,
      matrix_share: this.#matrixSpeed > 0 ? (this.#rate * this.#flopsPerToken) / this.#matrixSpeed : null,
      memory_bytes: process.memoryUsage.rss(),
      eta_seconds: tokensLeft / this.#rate,
      ...(waited === undefined
        ? {}
        : { data_wait_seconds: waited / 1_000, data_wait_share: Math.min(1, waited / elapsed) }),
    };
  }

  /** Leaves time out that was not training (validation, samples, a chat). */
  skip(since: number): void {
    this.#last += performance.now() - since;
  }
}
