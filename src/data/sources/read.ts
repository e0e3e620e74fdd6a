/** Reading units: opens, decompresses, and hands the content to its format. */
import { readJsonl } from '../formats/jsonl.ts';
import { readText } from '../formats/text.ts';
import { type Content, DataFile } from './bytes.ts';
import { decompress } from './compression.ts';
import { listUnits } from './list.ts';
import type { Format, SourceOptions, SourceSettings } from './settings.ts';
import type { RawRecord, SourceUnit } from './unit.ts';

type ReadFormat = (
  content: Content,
  unit: SourceUnit,
  settings: SourceSettings,
) => AsyncGenerator<RawRecord[]>;

const READERS: Partial<Record<Format, ReadFormat>> = { text: readText, jsonl: readJsonl };

/**
 * The records of a unit in order, in groups as they come in: an await a record would take longer than reading it.
 * Rows that cannot be read are among them as `bad`; a file that is damaged, cut short, changed or gone is an
 * AnnealError.
 */
export async function* readUnit(unit: SourceUnit, settings: SourceSettings): AsyncGenerator<RawRecord[]> {
  const file = await DataFile.open(unit.path, unit.location, unit.fileBytes);
  try {
    yield* READERS[unit.format]!(openContent(file, unit), unit, settings);
    await file.verify();
  } finally {
    await file.close();
  }
}

/** The records of all files that the patterns name, in order and in groups, each file as one unit. */
export async function* readRecords(
  patterns: readonly string[],
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

function openContent(file: DataFile, unit: SourceUnit): Content {
  if (unit.compression === 'none') {
    // From the byte before a range: whether a line begins with the range is told by what stands before it.
    const offset = Math.max(0, unit.start - 1);
    return {
      chunks: file.chunks(offset),
      offset,
      progress: (end) => Math.max(0, Math.min(unit.bytes, end - unit.start)),
    };
  }
  let taken = 0;
  const counted = async function* () {
    for await (const chunk of file.chunks()) {
      taken += chunk.length;
      yield chunk;
    }
  };
  return {
    chunks: decompress(counted(), unit.compression, unit.location),
    offset: 0,
    progress: () => taken,
  };
}
