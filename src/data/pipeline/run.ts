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
import { dataHash } from '../data_hash.ts';
import type { Part } from '../dataset.ts';
import { Decontamination } from '../dedup/decontamination.ts';
import { nearOptions } from '../dedup/near.ts';
import { checkPhases } from '../mix.ts';
import { rowSettingsOf } from '../shapes/settings.ts';
import { mergeUnits } from './dataset.ts';
import { PartSteps } from './part_steps.ts';
import { Pass, type PassOptions } from './pass.ts';
import {
  type CountedSettings,
  type CountedUnit,
  countedParts,
  findRepeated,
  partHashers,
  type Repeated,
} from './repeated.ts';
import { evaluationFiles, type PrepareSettings, type PrepareSource, partOf, sourcesOf } from './settings.ts';
import { DocumentSteps } from './steps.ts';
import { hashFiles, listWork, type WorkFile, type WorkUnit } from './units.ts';
import { WorkFolder } from './work_folder.ts';

type Context = StageContext<PrepareSettings>;

/** What decides the content of units, in the words of people where it is no setting. */
const INPUT_WORDS: Readonly<Record<string, string>> = {
  sources: 'the files, or how they are read',
  units: 'the files, or how they are read',
  unit_bytes: 'the files, or how they are read',
  fingerprints: 'dedup',
  removed: 'dedup',
  units_version: 'the version of anneal',
  code_version: 'the version of anneal',
};

/** Prepares the dataset, or a part of its work, into the stage's folder. */
export async function runPreparation(context: Context, tokenizer: Tokenizer): Promise<void> {
  const { settings, baseDir } = context;
  const sources = sourcesOf(settings);
  checkPhases(sources, settings.mixing);
  const units = await listWork(sources, baseDir, { unitBytes: settings.unit_bytes });
  const files = await hashFiles(units, sources.length, baseDir);
  await new Preparation(context, tokenizer, sources, units, files).run();
}

class Preparation {
  readonly #context: Context;
  readonly #tokenizer: Tokenizer;
  readonly #sources: readonly PrepareSource[];
  readonly #units: readonly WorkUnit[];
  readonly #files: readonly (readonly WorkFile[])[];
  readonly #workDir: string;
  readonly #counted: CountedSettings;
  readonly #passes: number;

  constructor(
    context: Context,
    tokenizer: Tokenizer,
    sources: readonly PrepareSource[],
    units: readonly WorkUnit[],
    files: readonly (readonly WorkFile[])[],
  ) {
    this.#context = context;
    this.#tokenizer = tokenizer;
    this.#sources = sources;
    this.#units = units;
    this.#files = files;
    const { work_dir, dedup } = context.settings;
    this.#workDir = work_dir === undefined ? context.workDir : resolve(context.baseDir, work_dir);
    this.#counted = { dedup, cleaning: sources.map(({ cleaning }) => cleaning) };
    this.#passes = countedParts(this.#counted).size > 0 ? 2 : 1;
  }

  async run(): Promise<void> {
    const { settings } = this.#context;
    const folder = await WorkFolder.open(this.#workDir, 'documents', await this.#inputs());
    if (settings.work_dir !== undefined) await this.#tellOtherInputs(settings.work_dir, folder);
    const repeated = this.#passes === 2 ? await this.#countParts() : undefined;
    const decontamination = await this.#openDecontamination();
    const steps = await this.#documentSteps(repeated, decontamination);
    const pass = this.#pass({
      folder,
      stepsOf: (unit) => steps[unit.source]!,
      maxDocuments: settings.max_documents ?? Number.POSITIVE_INFINITY,
      key: 'document',
      pass: this.#passes - 1,
    });
    const own = this.#own();
    await pass.complete(own);
    if (settings.part === undefined) await this.#merge(pass, decontamination, repeated);
    else await this.#writePart(settings.part, own.length, pass);
  }

  /** Says that units are left to do although the folder has some: those of other inputs are never used. */
  async #tellOtherInputs(workDir: string, folder: WorkFolder): Promise<void> {
    const { emit, name } = this.#context;
    const different = await folder.otherInputs();
    const left = this.#units.length - (await folder.count());
    if (different === undefined || left === 0) return;
    const words = [...new Set(different.map((key) => INPUT_WORDS[key] ?? key))].join(', ');
    const text = `${workDir} has units of other inputs (different: ${words}). They are not used: of this dataset ${left} of ${this.#units.length} units are left to do.`;
    emit('notice', { stage: name, level: 'warning', text }, `${name}/other-inputs`);
  }

  /** A pass over all units. */
  #pass(own: Pick<PassOptions, 'folder' | 'stepsOf' | 'maxDocuments' | 'key' | 'pass'>): Pass {
    return new Pass({
      context: this.#context,
      tokenizer: this.#tokenizer,
      sources: this.#sources,
      units: this.#units,
      passes: this.#passes,
      ...own,
    });
  }

  /** The units that are this run's to do. */
  #own(): readonly WorkUnit[] {
    const { part } = this.#context.settings;
    if (part === undefined) return this.#units;
    const { index, count } = partOf(part)!;
    return this.#units.filter((unit) => unit.index % count === index);
  }

  /** The first of two passes. What is repeated is known when all units are counted, also those of other parts. */
  async #countParts(): Promise<Repeated> {
    const { addon, threads, workDir } = this.#context;
    const kinds = countedParts(this.#counted);
    const folder = await WorkFolder.open(this.#workDir, 'parts', { ...this.#reading(), parts: [...kinds] });
    const steps = new PartSteps(partHashers(kinds, { addon, threads }));
    const pass = this.#pass({
      folder,
      stepsOf: () => steps,
      maxDocuments: Number.POSITIVE_INFINITY,
      key: 'count',
      pass: 0,
    });
    const own = new Set(this.#own());
    await pass.complete([...own, ...this.#units.filter((unit) => !own.has(unit))]);
    const counted: CountedUnit[] = [];
    for (const unit of this.#units) counted.push({ unit, done: await pass.sound(unit) });
    return await findRepeated(counted, this.#counted, { addon, threads, dir: workDir });
  }

  async #openDecontamination(): Promise<Decontamination | undefined> {
    const { settings, addon, threads, name: stage, baseDir } = this.#context;
    const { decontamination } = settings;
    return decontamination && Decontamination.open(decontamination, { addon, threads, stage, baseDir });
  }

  /** The steps of each source; equal rules are one cleaner. */
  async #documentSteps(
    repeated: Repeated | undefined,
    check: Decontamination | undefined,
  ): Promise<DocumentSteps[]> {
    const { addon, threads, seed, settings } = this.#context;
    const { append_eos, dedup, decontamination } = settings;
    const near = dedup?.near && nearOptions(dedup.near);
    const common = {
      tokenizer: this.#tokenizer,
      eosId: append_eos ? this.#tokenizer.eosId : undefined,
      decontamination: check && { check, action: decontamination!.action },
      fingerprinter: isFingerprinted(settings)
        ? addon.createFingerprinter({ ...(near && { near }), threads })
        : undefined,
    };
    const cleaners = new Map<string, Cleaner>();
    const steps: DocumentSteps[] = [];
    for (const [i, { cleaning }] of this.#sources.entries()) {
      const key = canonicalJson(cleaning ?? null);
      if (cleaning && !cleaners.has(key)) {
        const boilerplateLines = repeated?.boilerplate[i];
        cleaners.set(key, await createCleaner(cleaning, { addon, threads, seed, boilerplateLines }));
      }
      steps.push(
        new DocumentSteps({ ...common, cleaner: cleaners.get(key), repeated: repeated?.steps[i] ?? [] }),
      );
    }
    return steps;
  }

  async #merge(
    pass: Pass,
    decontamination: Decontamination | undefined,
    repeated: Repeated | undefined,
  ): Promise<void> {
    const maxDocuments = this.#context.settings.max_documents ?? Number.POSITIVE_INFINITY;
    const units: CountedUnit[] = [];
    let documents = 0;
    for (const unit of this.#units) {
      if (documents >= maxDocuments) break;
      const done = await pass.sound(unit);
      units.push({ unit, done });
      documents += done.report.documents;
    }
    await mergeUnits({
      context: this.#context,
      tokenizer: this.#tokenizer,
      sources: this.#sources,
      files: this.#files,
      units,
      decontamination,
      repeated: repeated?.counts ?? {},
    });
  }

  async #writePart(part: string, unitsOfPart: number, { documents, tokens }: Pass): Promise<void> {
    const { outDir, settings, record, emit, name } = this.#context;
    const content: Part = {
      format: 'anneal-tokens-part',
      part,
      units: this.#units.length,
      units_of_part: unitsOfPart,
      work_dir: settings.work_dir!,
    };
    await writeFileAtomic(join(outDir, 'manifest.json'), `${JSON.stringify(content, null, 2)}\n`);
    record({ part, units: unitsOfPart, documents, tokens });
    const text = `part ${part}: ${unitsOfPart} of ${this.#units.length} units are done in ${settings.work_dir}.`;
    emit('notice', { stage: name, level: 'info', text }, `${name}/part`);
  }

  /** What units read, and how. */
  #reading(): Record<string, unknown> {
    return {
      unit_bytes: this.#context.settings.unit_bytes,
      sources: this.#sources.map((source, i) => {
        const { max_rejected, ...reading } = rowSettingsOf(source);
        const files = this.#files[i]!.map(({ file, bytes, sha256 }) => ({ file, bytes, sha256 }));
        return { ...reading, rejects: max_rejected > 0, files };
      }),
      units: this.#units.map(({ source, parts }) => ({
        source,
        parts: parts.map(({ name, start, end }) => ({ name, start, end })),
      })),
    };
  }

  /** All that decides what documents' units hold. Weights and the like come in later: changing them redoes no unit. */
  async #inputs(): Promise<Record<string, unknown>> {
    const { settings, seed, baseDir } = this.#context;
    const { append_eos, max_documents, dedup, decontamination } = settings;
    const near = dedup?.near && nearOptions(dedup.near);
    const evaluated: string[] = [];
    for (const file of await evaluationFiles(settings, baseDir)) evaluated.push(await dataHash(file));
    return {
      ...this.#reading(),
      tokenizer: this.#tokenizer.hash,
      chat_template: this.#tokenizer.chatTemplate,
      append_eos,
      max_documents,
      cleaning: this.#counted.cleaning,
      seed: this.#counted.cleaning.some((rules) => rules?.c4_badwords?.keep_fraction) ? seed : undefined,
      fingerprints: isFingerprinted(settings) ? { near } : undefined,
      removed: dedup && { lines: dedup.lines, paragraphs: dedup.paragraphs, across: dedup.across_sources },
      decontamination: decontamination && { ...decontamination, files: evaluated },
    };
  }
}

/** Whether documents are compared with each other whole. */
function isFingerprinted({ dedup }: PrepareSettings): boolean {
  return dedup !== undefined && (dedup.exact || dedup.near !== undefined);
}
