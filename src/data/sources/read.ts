/** Reading units and whole sources. */

import type { JsonTexts } from '../../native/json_texts.ts';
import type { SourceFile } from '../files.ts';
import { isColumnar, readColumnar } from './columnar.ts';
import { listUnits } from './list.ts';
import { readUnitHere } from './read_here.ts';
import type { SourceOptions, SourceSettings } from './settings.ts';
import type { RawRecord, SourceUnit } from './unit.ts';

/**
 * The records of a unit in order, in groups as they come in: an await a record would take longer than reading it.
 * Rows that cannot be read are among them as `bad`; a file that is damaged, cut short, changed or gone is an
 * AnnealError. With `texts`, rows of JSONL that it reads have `text` in place of fields, which is there until the next
 * group is asked for.
 */
export function readUnit(
  unit: SourceUnit,
  settings: SourceSettings,
  texts?: JsonTexts,
): AsyncGenerator<RawRecord[]> {
  return isColumnar(unit.format) ? readColumnar(unit, settings) : readUnitHere(unit, settings, texts);
}

/** The records of all files, named or found before, in order and in groups, each file as one unit. */
export async function* readRecords(
  patterns: readonly (string | SourceFile)[],
  settings: SourceSettings,
  baseDir: string,
  options: SourceOptions = {},
): AsyncGenerator<{ unit: SourceUnit; records: RawRecord[] }> {
  const units = await listUnits(patterns, settings, baseDir, {
    ...options,
    unitBytes: Number.POSITIVE_INFINITY,
  });
  for (const unit of units) {
    for await (const records of readUnit(unit, settings)) yield { unit, records };
  }
}
