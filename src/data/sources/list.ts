/** Finding the units that patterns name, in an order of their own: the same on every machine with the same files. */
import { resolveFiles } from '../files.ts';
import { DataFile } from './bytes.ts';
import { compressionOf, MAGIC_BYTES } from './compression.ts';
import { DEFAULT_UNIT_BYTES, type Format, type SourceOptions, type SourceSettings } from './settings.ts';
import type { SourceUnit } from './unit.ts';

/** The units of all files that the patterns name, relative ones starting from `baseDir`. */
export async function listUnits(
  patterns: readonly string[],
  settings: SourceSettings,
  baseDir: string,
  options: SourceOptions = {},
): Promise<SourceUnit[]> {
  const units: SourceUnit[] = [];
  for (const path of await resolveFiles(patterns, baseDir)) {
    units.push(...(await unitsOfFile(path, settings, options.unitBytes ?? DEFAULT_UNIT_BYTES)));
  }
  return units;
}

async function unitsOfFile(path: string, settings: SourceSettings, unitBytes: number): Promise<SourceUnit[]> {
  const file = await DataFile.open(path, path);
  try {
    const compression = compressionOf(await file.read(0, Math.min(MAGIC_BYTES, file.size)));
    const format = settings.format === 'auto' ? formatByName(path) : settings.format;
    const whole = {
      location: path,
      path,
      format,
      compression,
      start: 0,
      bytes: file.size,
      fileBytes: file.size,
    };
    const splits = format === 'jsonl' || (format === 'text' && settings.text_unit !== 'document');
    if (!splits || compression !== 'none' || file.size <= unitBytes) return [whole];
    return Array.from({ length: Math.ceil(file.size / unitBytes) }, (_, i): SourceUnit => {
      const start = i * unitBytes;
      const end = Math.min(file.size, start + unitBytes);
      return { ...whole, start, end, bytes: end - start };
    });
  } finally {
    await file.close();
  }
}

function formatByName(path: string): Format {
  return /\.(jsonl|ndjson)(\.gz|\.zst)?$/i.test(path) ? 'jsonl' : 'text';
}
