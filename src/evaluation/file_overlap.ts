/**
 * The files that a stage trained on, compared with the rows of an evaluation by the rules of `decontamination`: read
 * as the stage read them, where they still are what it read. Results are kept under the home.
 */
import { basename, dirname, join } from 'node:path';
import { ANNEAL_VERSION } from '../../proto/version.ts';
import type { Lineage } from '../artifacts/lineage.ts';
import { Decontamination } from '../data/dedup/decontamination.ts';
import { type AskedRow, type EvaluationSet, rowKey } from '../data/dedup/evaluation_sets.ts';
import { type OverlapFile, overlapSchema } from '../data/dedup/overlap.ts';
import { decontaminationRules } from '../data/dedup/settings.ts';
import { type SourceFile, sourcesAmong } from '../data/files.ts';
import { type RowSource, readRows } from '../data/shapes/read.ts';
import { type RowSettings, rowSettings, rowSettingsOf } from '../data/shapes/settings.ts';
import { TextBatchBuilder } from '../native/text_batch.ts';
import { type StageContext, StageStopped } from '../stages/stage.ts';
import { makeDir, readJson, writeFileAtomic } from '../util/files.ts';
import { hashFile, hashValue } from '../util/hash.ts';
import { soughtText, type TrainingRows, trainingRows } from './training_rows.ts';

type Context = Pick<
  StageContext<unknown>,
  'addon' | 'threads' | 'cacheDir' | 'checkpointRequested' | 'emit' | 'log' | 'name'
>;

/** What was found, or why the files cannot be compared any more. */
export type FileOverlap =
  | { overlap: OverlapFile }
  | { reason: 'files_changed' | 'own_stage'; detail: string };

const RULES = decontaminationRules.parse({ action: 'report' });

/** Texts are compared in batches of about this size. */
const BATCH_BYTES = 4 << 20;

export class FileOverlaps {
  readonly #rows: readonly AskedRow[];
  readonly #context: Context;
  /** By path. */
  readonly #hashes = new Map<string, string | undefined>();

  constructor(rows: readonly AskedRow[], context: Context) {
    this.#rows = rows;
    this.#context = context;
  }

  /** Of the files that the stage's `dataset` named. */
  async of(lineage: Lineage): Promise<FileOverlap> {
    const rows = trainingRows(lineage);
    if (!rows) return { reason: 'own_stage', detail: 'reads its data in a way of its own' };
    const settings = rowSettings.parse(rowSettingsOf(lineage.settings));
    const patterns = [lineage.settings.dataset].flat() as string[];
    const files = await this.#unchanged(lineage, patterns, settings);
    if (typeof files === 'string') return { reason: 'files_changed', detail: files };
    const { type, job_name } = lineage;
    const { kind, sought } = rows;
    const set: EvaluationSet = {
      name: 'evaluation',
      texts: this.#rows.map((row) => soughtText(row, sought)),
      keys: this.#rows.map(rowKey),
    };
    const read = files.map((file) => ({ ...file, path: this.#hashes.get(file.path) }));
    const key = hashValue({ version: ANNEAL_VERSION, rules: RULES, type, sought, settings, read, set });
    const kept = join(this.#context.cacheDir, 'overlap', `${key}.json`);
    const known = await readKept(kept);
    if (known) return { overlap: known };
    const { name, log, emit } = this.#context;
    const stage = `${job_name}/${lineage.stage}`;
    log('info', `${name}: compares its rows with ${patterns.join(', ')} of ${stage}`);
    const source = { patterns, files, baseDir: lineage.recipe.base_dir, settings, stage, setting: 'dataset' };
    const total = lineage.data_files.reduce(
      (sum, { path, bytes }) => (files.some((file) => file.path === path) ? sum + bytes : sum),
      0,
    );
    const overlap = await this.#compare(set, source, kind, (done) =>
      emit(
        'progress',
        { stage: name, done, total, unit: 'byte', metrics: {} },
        `${name}/${lineage.hash}/${done}`,
      ),
    );
    await makeDir(dirname(kept));
    await writeFileAtomic(kept, JSON.stringify(overlap));
    return { overlap };
  }

  /** The files that the patterns named, where all are what the stage read; else what has become of one. */
  async #unchanged(
    { data_files, recipe }: Lineage,
    patterns: readonly string[],
    settings: RowSettings,
  ): Promise<SourceFile[] | string> {
    const known = new Map(data_files.map(({ path, sha256 }) => [path, sha256]));
    const files: SourceFile[] = [];
    for (const pattern of patterns) {
      const named = await sourcesAmong([...known.keys()], pattern, recipe.base_dir, settings);
      if (named.length === 0) return `${pattern} is gone`;
      files.push(...named);
    }
    for (const { path, location } of files) {
      const hash = await this.#hash(path);
      if (hash === undefined) return `${basename(location)} is gone`;
      if (hash !== known.get(path)) return `${basename(location)} has changed since`;
    }
    return files;
  }

  /** The checksum of a file as it is now; undefined: it cannot be read. */
  async #hash(path: string): Promise<string | undefined> {
    if (!this.#hashes.has(path)) this.#hashes.set(path, await hashFile(path).catch(() => undefined));
    return this.#hashes.get(path);
  }

  /** `progress` gets the bytes that were read, batch by batch. */
  async #compare(
    set: EvaluationSet,
    source: RowSource,
    kind: TrainingRows['kind'],
    progress: (bytes: number) => void,
  ): Promise<OverlapFile> {
    const { checkpointRequested } = this.#context;
    const decontamination = await Decontamination.over([set], RULES, this.#context);
    // One is filled while the other is compared.
    let filling = new TextBatchBuilder();
    let spare = new TextBatchBuilder();
    let working = Promise.resolve();
    const flush = async () => {
      await working;
      if (checkpointRequested()) throw new StageStopped();
      [filling, spare] = [spare, filling];
      working = decontamination.count(spare.take());
      // Its failure is met where it is awaited; until then nobody may take it for unhandled.
      working.catch(() => undefined);
    };
    for await (const { content, bytesRead } of readRows(source, kind)) {
      for (const text of content) filling.add(text);
      if (filling.byteLength < BATCH_BYTES) continue;
      await flush();
      progress(bytesRead);
    }
    await flush();
    await working;
    return decontamination.overlap();
  }
}

/** What was found before; what is damaged is found anew. */
async function readKept(path: string): Promise<OverlapFile | undefined> {
  return overlapSchema.safeParse(await readJson(path, 'artifact_corrupt').catch(() => undefined)).data;
}
