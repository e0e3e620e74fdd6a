/**
 * What workers report, in the order in which it came, on its way into the store. Reports of one turn of the event
 * loop share a transaction. When the disk is full they wait here and are tried again: nothing is dropped, workers
 * wait at their next checkpoint, and the daemon goes on answering.
 */
import { toAnnealError } from '../../proto/errors.ts';
import type { Log } from './log.ts';
import type { Store } from './store.ts';

interface Report {
  /** Runs inside the transaction, and again if that fails: changes the store and nothing else. */
  apply(): void;
  /** Runs after the commit. */
  after(): void;
}

const RETRY_MS = 1_000;

export class Inbox {
  readonly #store: Store;
  readonly #log: Log;
  #reports: Report[] = [];
  #scheduled = false;

  constructor(store: Store, log: Log) {
    this.#store = store;
    this.#log = log;
  }

  post(apply: () => void, after: () => void = () => {}): void {
    this.#reports.push({ apply, after });
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#run());
  }

  /** Whether reports wait for room on the disk. */
  get waiting(): boolean {
    return this.#reports.length > 0;
  }

  #run(): void {
    this.#scheduled = false;
    const batch = this.#reports.splice(0);
    const error = this.#tryCommit(batch);
    if (error === undefined) return;
    if (toAnnealError(error).code === 'disk_full') this.#later(batch, error);
    else this.#oneByOne(batch);
  }

  /** The error that kept the batch out of the store, or undefined. */
  #tryCommit(batch: Report[]): unknown {
    try {
      this.#store.transaction(() => {
        for (const report of batch) report.apply();
      });
    } catch (error) {
      return error;
    }
    for (const report of batch) report.after();
    return undefined;
  }

  #later(batch: Report[], error: unknown): void {
    this.#log.error({ err: error, reports: batch.length }, 'the store cannot be written; trying again');
    this.#reports.unshift(...batch);
    this.#scheduled = true;
    setTimeout(() => this.#run(), RETRY_MS);
  }

  /** A report that the store refuses is a fault of the program; it must not take the others with it. */
  #oneByOne(batch: Report[]): void {
    for (const [index, report] of batch.entries()) {
      const error = this.#tryCommit([report]);
      if (error === undefined) continue;
      if (toAnnealError(error).code === 'disk_full') {
        this.#later(batch.slice(index), error);
        return;
      }
      this.#log.error({ err: error }, 'a report of a worker was refused by the store');
      report.after();
    }
  }
}
