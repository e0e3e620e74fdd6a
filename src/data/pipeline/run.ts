/**
 * A preparation from its settings to its dataset: units listed, those that are not done worked on, and, unless only a
 * part was asked for, all of them merged. Called by the stage `prepare`.
 */
import { join, resolve } from 'node:path';
import type { Cleaner } from '../../native/cleaning.ts';
import type { StageContext } from '../../stages/stage.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { writeFileAtomic } from '../../util/files.ts';
import { canonicalJson } from '../../util/hash.ts';
import { createCleaner } from '../cleaning/cleaner.ts';
import { checkPhases } from '../mix.ts';
import { mergeUnits, requireFitting } from './dataset.ts';
import { UnitMapper } from './map.ts';
import { type PrepareSettings, type PrepareSource, partOf, readingOf, sourcesOf } from './settings.ts';
import { DocumentSteps } from './steps.ts';
import { type DoneUnit, UnitWriter } from './unit_folder.ts';
import { addReport, emptyReport } from './unit_report.ts';
import { hashFiles, listWork, type WorkFile, type WorkUnit } from './units.ts';
import { WorkFolder } from './work_folder.ts';

/** Rows after which a share of misfits is looked at before all have been read. */
const CHECK_ROWS = 10_000;

type Context = StageContext<PrepareSettings>;

/** Prepares the dataset, or a part of its work, into the stage's folder. */
export async function runPreparation(context: Context, tokenizer: Tokenizer): Promise<void> {
  const { settings, baseDir, workDir } = context;
  const sources = sourcesOf(settings);
  checkPhases(sources, settings.mixing);
  const units = await listWork(sources, baseDir, { unitBytes: settings.unit_bytes });
  const files = await hashFiles(units, sources.length, baseDir);
  const folder = await WorkFolder.open(
    settings.work_dir === undefined ? workDir : resolve(baseDir, settings.work_dir),
    'documents',
    unitInputs(settings, sources, units, files, tokenizer),
  );
  try {
    const steps = await makeSteps(context, tokenizer, sources);
    await new Preparation(context, tokenizer, sources, units, files, folder, steps).run();
  } finally {
    folder.close();
  }
}

/** All that decides what the units hold. Weights and the like come in later: changing them redoes no unit. */
function unitInputs(
  settings: PrepareSettings,
  sources: readonly PrepareSource[],
  units: readonly WorkUnit[],
  files: readonly (readonly WorkFile[])[],
  tokenizer: Tokenizer,
): Record<string, unknown> {
  const { append_eos, max_documents, unit_bytes } = settings;
  return {
    tokenizer: tokenizer.hash,
    chat_template: tokenizer.chatTemplate,
    append_eos,
    max_documents,
    unit_bytes,
    sources: sources.map((source, i) => {
      const { max_rejected, ...reading } = readingOf(source);
      return {
        ...reading,
        rejects: max_rejected > 0,
        cleaning: source.cleaning,
        files: files[i]!.map(({ file, bytes, sha256 }) => ({ file, bytes, sha256 })),
      };
    }),
    units: units.map(({ source, parts }) => ({
      source,
      parts: parts.map(({ name, member, format, compression, start, end }) => ({
        name,
        member,
        format,
        compression,
        start,
        end,
      })),
    })),
  };
}

/** The steps of each source; equal rules are one cleaner. */
async function makeSteps(
  { addon, threads, settings }: Context,
  tokenizer: Tokenizer,
  sources: readonly PrepareSource[],
): Promise<DocumentSteps[]> {
  const eosId = settings.append_eos ? tokenizer.eosId : undefined;
  const cleaners = new Map<string, Cleaner>();
  const steps: DocumentSteps[] = [];
  for (const { cleaning } of sources) {
    const key = canonicalJson(cleaning ?? null);
    if (cleaning && !cleaners.has(key)) cleaners.set(key, await createCleaner(cleaning, { addon, threads }));
    steps.push(new DocumentSteps({ tokenizer, eosId, cleaner: cleaners.get(key), fingerprinter: undefined }));
  }
  return steps;
}

class Preparation {
  readonly #context: Context;
  readonly #tokenizer: Tokenizer;
  readonly #sources: readonly PrepareSource[];
  readonly #units: readonly WorkUnit[];
  readonly #files: readonly (readonly WorkFile[])[];
  readonly #folder: WorkFolder;
  /** Of each source. */
  readonly #steps: readonly DocumentSteps[];
  readonly #maxDocuments: number;
  readonly #total: number;
  /** Of the units that are done. */
  #bytes = 0;
  #documents = 0;
  #tokens = 0;
  #told = 0;

  constructor(
    context: Context,
    tokenizer: Tokenizer,
    sources: readonly PrepareSource[],
    units: readonly WorkUnit[],
    files: readonly (readonly WorkFile[])[],
    folder: WorkFolder,
    steps: readonly DocumentSteps[],
  ) {
    this.#context = context;
    this.#tokenizer = tokenizer;
    this.#sources = sources;
    this.#units = units;
    this.#total = units.reduce((sum, unit) => sum + unit.bytes, 0);
    this.#files = files;
    this.#folder = folder;
    this.#steps = steps;
    this.#maxDocuments = context.settings.max_documents ?? Number.POSITIVE_INFINITY;
  }

  async run(): Promise<void> {
    const { part } = this.#context.settings;
    if (part === undefined) {
      await this.#complete(this.#units.map(({ index }) => index));
      await this.#merge();
      return;
    }
    const { index, count } = partOf(part)!;
    const own = this.#units.filter((unit) => unit.index % count === index);
    await this.#complete(own.map((unit) => unit.index));
    await this.#writePart(part, own.length);
  }

  /** Does units until all are done, or the first of them have all documents that are wanted. */
  async #complete(indices: readonly number[]): Promise<void> {
    const done = new Map<number, number>();
    const reports = this.#sources.map(emptyReport);
    await this.#folder.complete(
      indices,
      (index) => this.#make(index),
      (index, { report }) => {
        const unit = this.#units[index]!;
        done.set(index, report.documents);
        this.#bytes += unit.bytes;
        this.#documents += report.documents;
        this.#tokens += report.tokens;
        this.#tell(0, 0, 0);
        addReport(reports[unit.source]!, report);
        if (reports[unit.source]!.rows >= CHECK_ROWS) {
          requireFitting(this.#sources[unit.source]!, reports[unit.source]!, this.#context.name);
        }
        let documents = 0;
        for (let i = 0; documents < this.#maxDocuments; i++) {
          const more = done.get(i);
          if (more === undefined) return false;
          documents += more;
        }
        return true;
      },
    );
  }

  async #make(index: number): Promise<void> {
    const unit = this.#units[index]!;
    const writer = await UnitWriter.create(this.#folder.root, index);
    try {
      const options = {
        tokenizer: this.#tokenizer,
        steps: this.#steps[unit.source]!,
        maxDocuments: this.#maxDocuments,
      };
      const mapper = new UnitMapper(unit, this.#sources[unit.source]!, options, writer, {
        progress: (bytes, { documents, tokens }) => this.#tell(bytes, documents, tokens),
        stopRequested: () => this.#context.checkpointRequested(),
      });
      await writer.finish(await mapper.run());
    } catch (error) {
      await writer.abandon();
      throw error;
    }
  }

  /** Tells how far the work is, with what the current unit has come to. */
  #tell(bytes: number, documents: number, tokens: number): void {
    const { emit, name } = this.#context;
    const all = { documents: this.#documents + documents, tokens: this.#tokens + tokens };
    // Keys of events are told once.
    if (all.documents === this.#told) return;
    this.#told = all.documents;
    emit(
      'progress',
      { stage: name, done: this.#bytes + bytes, total: this.#total, unit: 'byte', metrics: all },
      `${name}/document/${all.documents}`,
    );
  }

  async #merge(): Promise<void> {
    const units: { unit: WorkUnit; done: DoneUnit }[] = [];
    let documents = 0;
    for (const unit of this.#units) {
      if (documents >= this.#maxDocuments) break;
      const left = (await this.#folder.done(unit.index))!;
      const done = await this.#folder.mend(unit.index, left, (index) => this.#make(index));
      units.push({ unit, done });
      documents += done.report.documents;
    }
    await mergeUnits({
      context: this.#context,
      tokenizer: this.#tokenizer,
      sources: this.#sources,
      files: this.#files,
      units,
    });
  }

  async #writePart(part: string, unitsOfPart: number): Promise<void> {
    const { outDir, settings, record, log } = this.#context;
    const content = {
      format: 'anneal-tokens-part',
      part,
      units: this.#units.length,
      units_of_part: unitsOfPart,
      work_dir: settings.work_dir!,
    };
    await writeFileAtomic(join(outDir, 'manifest.json'), `${JSON.stringify(content, null, 2)}\n`);
    record({ part, units: unitsOfPart, documents: this.#documents, tokens: this.#tokens });
    log(
      'info',
      `part ${part}: ${unitsOfPart} of ${this.#units.length} units are done in ${settings.work_dir}`,
    );
  }
}
