/**
 * The rows of a stage's data: sources read, filtered, shaped, what does not fit kept aside. What was found is told
 * once: which shapes, what `where` left out, what was rejected.
 */
import { join } from 'node:path';
import { AnnealError } from '../../../proto/errors.ts';
import { resolveFiles, type SourceFile } from '../files.ts';
import { readRecords } from '../sources/read.ts';
import { recordOrigin, type SourceUnit } from '../sources/unit.ts';
import { RowError, rowErrorOf } from './errors.ts';
import { REJECTED_FILE, Rejects } from './rejects.ts';
import { type RowSettings, rowSettings } from './settings.ts';
import { type RowKind, Shaper } from './shaper.ts';
import { ShapeCounts, type ShapeName } from './shapes.ts';

/** What rows are read from, and how. */
export interface RowSource {
  /** Names of files or patterns. */
  patterns: readonly string[];
  /** The files, where they were found before; absent: those that the patterns name now. */
  files?: readonly SourceFile[];
  /** Folder that relative names start from. */
  baseDir: string;
  settings: RowSettings;
  /** Stage, as messages name it, and its setting that names the data. */
  stage: string;
  setting: string;
  /** Folder that rejected rows are written to; undefined: they are counted only. */
  outDir?: string | undefined;
  /** Gets what is to be told when all has been read. */
  tell?: ((level: 'info' | 'warning', text: string, about: 'shapes' | 'rejected') => void) | undefined;
}

/** A row, to be used before the next one is read. */
export class ReadRow<T> {
  readonly content: T;
  /** `file:12` */
  readonly origin: string;
  /** The row's number in its unit. */
  readonly line: number;
  /** Its number among all rows of the source, from 0, those that are left out or do not fit included. */
  readonly number: number;
  readonly unit: SourceUnit;
  /** Bytes of all units that were read up to the end of the row. */
  readonly bytesRead: number;
  /** Why it does not fit after all. */
  refused: RowError | undefined;

  constructor(content: T, origin: string, line: number, number: number, unit: SourceUnit, bytesRead: number) {
    this.content = content;
    this.origin = origin;
    this.line = line;
    this.number = number;
    this.unit = unit;
    this.bytesRead = bytesRead;
  }

  /**
   * Reads the row on, as encoding does. What a chat template or a later check has against it is about this row: it
   * is set aside like one that has no shape, and the result is undefined.
   */
  attempt<U>(work: (content: T) => U): U | undefined {
    try {
      return work(this.content);
    } catch (error) {
      this.refused = rowErrorOf(error, this.origin);
      return undefined;
    }
  }
}

/** Data of a stage, with what it says about it as notices. */
export function stageRows(
  context: {
    name: string;
    baseDir: string;
    outDir?: string;
    settings: RowSettings;
    emit: (
      kind: 'notice',
      body: { stage: string | null; level: 'info' | 'warning' | 'error'; text: string },
      key?: string,
    ) => void;
  },
  patterns: readonly string[],
  setting = 'dataset',
): RowSource {
  const { name: stage, baseDir, outDir, settings, emit } = context;
  return {
    patterns,
    baseDir,
    settings,
    stage,
    setting,
    outDir,
    tell: (level, text, about) => emit('notice', { stage, level, text }, `${stage}/${setting}/${about}`),
  };
}

/** The files that a stage's settings name, for the hash of its result; `dataset` may be another stage's. */
export function rowFiles(
  settings: { dataset?: string[]; eval_dataset?: string[] | undefined } & Pick<RowSettings, 'format'>,
  baseDir: string,
): Promise<string[]> {
  return resolveFiles([...(settings.dataset ?? []), ...(settings.eval_dataset ?? [])], baseDir, settings);
}

/** Files read as they are, without a recipe. */
export function plainRows(patterns: readonly string[], baseDir = '/'): RowSource {
  return { patterns, baseDir, settings: rowSettings.parse({}), stage: 'data', setting: 'dataset' };
}

/** The rows of a source, in order. */
export async function* readRows<Name extends ShapeName, T>(
  source: RowSource,
  kind: RowKind<Name, T>,
): AsyncGenerator<ReadRow<T>> {
  const { patterns, files = patterns, baseDir, settings, stage, setting, outDir, tell } = source;
  const shaper = new Shaper(settings, kind);
  const shapes = new ShapeCounts();
  const rejects = new Rejects({
    stage,
    setting,
    maxRejected: settings.max_rejected,
    path: outDir === undefined ? undefined : join(outDir, REJECTED_FILE),
  });
  let current: SourceUnit | undefined;
  let before = 0;
  let number = -1;
  for await (const { unit, records } of readRecords(files, settings, baseDir)) {
    if (current !== unit) before += current?.bytes ?? 0;
    current = unit;
    for (const record of records) {
      const origin = recordOrigin(unit, record.line);
      number += 1;
      try {
        const shaped = shaper.read(record, origin);
        if (shaped === undefined) continue;
        const row = new ReadRow(shaped.content, origin, record.line, number, unit, before + record.end);
        yield row;
        if (row.refused) throw row.refused;
        rejects.fits();
        shapes.add(shaped.shape, shaped.besides);
      } catch (error) {
        if (!(error instanceof RowError)) throw error;
        await rejects.reject(error, record.bad?.excerpt ?? record.fields ?? record.text?.toString());
      }
    }
  }
  await rejects.finish();
  const filtered = shaper.filter.describe();
  if (shapes.rows === 0 && shaper.filter.leftOut > 0) {
    throw new AnnealError('data_empty', `${stage}: ${setting} has no row left: ${filtered}.`, {
      path: `stages.${stage}.where`,
      hint: 'Look at the names and values of the fields that `where` asks for.',
    });
  }
  if (shapes.rows > 0) {
    const text = [`${setting}: ${shapes.describe()}`, ...(filtered === undefined ? [] : [filtered])];
    tell?.('info', `${text.join('; ')}.`, 'shapes');
  }
  const rejected = rejects.describe();
  if (rejected !== undefined) tell?.('warning', `${setting}: ${rejected}.`, 'rejected');
}
