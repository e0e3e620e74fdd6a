/**
 * The time of day as the scheduler sees it: time windows and the delays of retries go by it. The one place at which
 * tests put another clock in.
 */
export interface Clock {
  /** Unix milliseconds. */
  now(): number;
  /** Calls back at a time of this clock or soon after; returns how to call that off. */
  at(time: number, callback: () => void): () => void;
}

/** The clock of the machine is looked at so often: it may be set, and the machine may sleep. */
const LOOK_MS = 15_000;

/** The clock of the machine. */
export const systemClock: Clock = {
  now: Date.now,
  at(time, callback) {
    let timer: NodeJS.Timeout;
    const wait = (): void => {
      const left = time - Date.now();
      if (left <= 0) callback();
      else timer = setTimeout(wait, Math.min(left, LOOK_MS)).unref();
    };
    wait();
    return () => clearTimeout(timer);
  },
};
