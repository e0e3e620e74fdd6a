/**
 * What a training run writes down as it goes: metrics and ledger as JSON lines, and the metrics and samples once more
 * as TensorBoard's events. All are cut to the lengths of a checkpoint when a run goes on from it, so that they hold
 * each step once, with the same bytes.
 */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Journal } from './journal.ts';
import { fileHeader, sampleText, scalarRecord, TENSORBOARD_FILE, textRecord } from './tensorboard.ts';

export const METRICS_FILE = 'metrics.jsonl';
export const LEDGER_FILE = 'ledger.jsonl';
/** Origins of the rows that the ledger numbers, one a line. */
export const ROWS_FILE = 'rows.txt';

const FILES = [METRICS_FILE, LEDGER_FILE, TENSORBOARD_FILE] as const;

/** Lengths of the files in bytes, as a state holds them. */
export interface RecordLengths {
  metricsBytes: number;
  ledgerBytes: number;
  tensorboardBytes: number;
}

export class Records {
  readonly #metrics: Journal;
  readonly #ledger: Journal;
  readonly #tensorboard: Journal;

  private constructor(dir: string, lengths: RecordLengths) {
    const { metricsBytes, ledgerBytes, tensorboardBytes } = lengths;
    this.#metrics = Journal.open(join(dir, METRICS_FILE), metricsBytes);
    this.#ledger = Journal.open(join(dir, LEDGER_FILE), ledgerBytes);
    this.#tensorboard = Journal.open(join(dir, TENSORBOARD_FILE), tensorboardBytes);
    if (tensorboardBytes === 0) this.#tensorboard.write(fileHeader());
  }

  /** Opens the files of a work folder and cuts them to the lengths that a checkpoint noted (zeros: a new run). */
  static open(dir: string, lengths: RecordLengths): Records {
    return new Records(dir, lengths);
  }

  /** Whether the files are at least as long as a checkpoint noted. */
  static async hold(dir: string, lengths: RecordLengths): Promise<boolean> {
    const { metricsBytes, ledgerBytes, tensorboardBytes } = lengths;
    const held = await Promise.all([
      Journal.holds(join(dir, METRICS_FILE), metricsBytes),
      Journal.holds(join(dir, LEDGER_FILE), ledgerBytes),
      Journal.holds(join(dir, TENSORBOARD_FILE), tensorboardBytes),
    ]);
    return held.every(Boolean);
  }

  /** Copies the files of a work folder beside the model. */
  static async copy(workDir: string, outDir: string): Promise<void> {
    for (const file of FILES) await copyFile(join(workDir, file), join(outDir, file));
  }

  lengths(): RecordLengths {
    return {
      metricsBytes: this.#metrics.bytes,
      ledgerBytes: this.#ledger.bytes,
      tensorboardBytes: this.#tensorboard.bytes,
    };
  }

  metrics(step: number, metrics: Readonly<Record<string, number>>): void {
    this.#metrics.append({ step, ...metrics });
    this.#tensorboard.write(scalarRecord(step, metrics));
  }

  ledger(line: Record<string, unknown>): void {
    this.#ledger.append(line);
  }

  /** `index`: place of the prompt among the recipe's. */
  sample(step: number, index: number, prompt: string, text: string): void {
    this.#tensorboard.write(textRecord(step, `samples/${index}`, sampleText(prompt, text)));
  }

  truncate({ metricsBytes, ledgerBytes, tensorboardBytes }: RecordLengths): void {
    this.#metrics.truncate(metricsBytes);
    this.#ledger.truncate(ledgerBytes);
    this.#tensorboard.truncate(tensorboardBytes);
    if (tensorboardBytes === 0) this.#tensorboard.write(fileHeader());
  }

  sync(): void {
    for (const journal of this.#all()) journal.sync();
  }

  close(): void {
    for (const journal of this.#all()) journal.close();
  }

  #all(): Journal[] {
    return [this.#metrics, this.#ledger, this.#tensorboard];
  }
}
