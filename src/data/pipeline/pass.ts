/** One pass over the units of a preparation: those that are not done are worked on, and all are told of. */
import { TextBatchBuilder } from '../../native/text_batch.ts';
import type { StageContext } from '../../stages/stage.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { UnitMapper } from './map.ts';
import type { PrepareSettings, PrepareSource } from './settings.ts';
import type { Steps } from './steps.ts';
import { type DoneUnit, UnitWriter } from './unit_folder.ts';
import { addReport, emptyReport, requireFitting, type UnitReport } from './unit_report.ts';
import type { WorkUnit } from './units.ts';
import type { WorkFolder } from './work_folder.ts';

/** Rows after which a share of misfits is looked at before all have been read. */
const CHECK_ROWS = 10_000;

export interface PassOptions {
  context: StageContext<PrepareSettings>;
  tokenizer: Tokenizer;
  sources: readonly PrepareSource[];
  units: readonly WorkUnit[];
  folder: WorkFolder;
  /** Of each unit's source. */
  stepsOf(unit: WorkUnit): Steps;
  maxDocuments: number;
  /** What events' keys begin with; the pass's place among the passes. */
  key: string;
  pass: number;
  passes: number;
}

export class Pass {
  readonly #options: PassOptions;
  readonly #total: number;
  /** Of three batches one is read, one cleaned, and one encoded. */
  readonly #builders = Array.from({ length: 3 }, () => new TextBatchBuilder());
  /** Of the units that are done. */
  #bytes = 0;
  #documents = 0;
  #tokens = 0;
  #told = 0;

  constructor(options: PassOptions) {
    this.#options = options;
    this.#total = options.units.reduce((sum, unit) => sum + unit.bytes, 0);
  }

  get documents(): number {
    return this.#documents;
  }
  get tokens(): number {
    return this.#tokens;
  }

  /** Does these units, until all are done or the first of all units have the documents that are wanted. */
  async complete(units: readonly WorkUnit[]): Promise<void> {
    const { folder, sources, maxDocuments, context } = this.#options;
    const done = new Map<number, number>();
    const reports = sources.map(emptyReport);
    await folder.complete(
      units.map(({ index }) => index),
      (index) => this.#make(index),
      (index, { report }) => {
        const unit = this.#options.units[index]!;
        done.set(index, report.documents);
        this.#bytes += unit.bytes;
        this.#documents += report.documents;
        this.#tokens += report.tokens;
        this.#tell(0, 0, 0);
        const sum = reports[unit.source]!;
        addReport(sum, report);
        if (sum.rows >= CHECK_ROWS) requireFitting(sources[unit.source]!, sum, context.name);
        if (maxDocuments === Number.POSITIVE_INFINITY) return false;
        let documents = 0;
        for (let i = 0; documents < maxDocuments; i++) {
          const more = done.get(i);
          if (more === undefined) return false;
          documents += more;
        }
        return true;
      },
    );
  }

  /** A unit that is done, its files as they were written: what was damaged is done again. */
  async sound(unit: WorkUnit): Promise<DoneUnit> {
    const { folder } = this.#options;
    const left = (await folder.done(unit.index))!;
    return folder.mend(unit.index, left, (index) => this.#make(index));
  }

  async #make(index: number): Promise<void> {
    const { context, tokenizer, sources, folder, stepsOf, maxDocuments } = this.#options;
    const unit = this.#options.units[index]!;
    const writer = await UnitWriter.create(folder.root, index);
    try {
      const { addon } = context;
      const options = { addon, tokenizer, steps: stepsOf(unit), maxDocuments, builders: this.#builders };
      const mapper = new UnitMapper(unit, sources[unit.source]!, options, writer, {
        progress: (bytes, report) => this.#progress(bytes, report),
        stopRequested: () => context.checkpointRequested(),
      });
      await writer.finish(await mapper.run());
    } catch (error) {
      await writer.abandon();
      throw error;
    }
  }

  #progress(bytes: number, { documents, tokens }: UnitReport): void {
    this.#tell(bytes, documents, tokens);
  }

  /** Tells how far the work is, with what the current unit has come to. */
  #tell(bytes: number, documents: number, tokens: number): void {
    const { context, key, pass, passes } = this.#options;
    const { emit, name } = context;
    const metrics = { documents: this.#documents + documents, tokens: this.#tokens + tokens };
    // Keys of events are told once.
    if (metrics.documents === this.#told) return;
    this.#told = metrics.documents;
    const done = pass * this.#total + this.#bytes + bytes;
    emit(
      'progress',
      { stage: name, done, total: passes * this.#total, unit: 'byte', metrics },
      `${name}/${key}/${metrics.documents}`,
    );
  }
}
