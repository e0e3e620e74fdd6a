/**
 * The units of work of a preparation: ranges of files, numbered in the order of the sources. They follow from files
 * and settings alone, so that any process on any machine can do any of them and the pieces fit.
 */
import { isAbsolute, relative } from 'node:path';
import { hashFile } from '../../util/hash.ts';
import { listUnits } from '../sources/list.ts';
import { isByteRange, type SourceUnit } from '../sources/unit.ts';
import type { PrepareSource } from './settings.ts';

export interface WorkUnit extends SourceUnit {
  /** Place among all units. */
  index: number;
  /** Which of the sources it belongs to. */
  source: number;
  /** `location` as results name it: relative to the recipe where the file lies beside or below it. */
  name: string;
}

/** A data file of a source. */
export interface WorkFile {
  path: string;
  file: string;
  bytes: number;
  sha256: string;
}

export async function listWork(
  sources: readonly PrepareSource[],
  unitBytes: number,
  baseDir: string,
): Promise<WorkUnit[]> {
  const units: WorkUnit[] = [];
  for (const [source, settings] of sources.entries()) {
    for (const unit of await listUnits(settings.files, settings, baseDir, { unitBytes })) {
      units.push({ ...unit, index: units.length, source, name: shortName(unit.location, baseDir) });
    }
  }
  return units;
}

/** The files of the units with their checksums, in order. */
export async function hashFiles(
  units: readonly WorkUnit[],
  sources: number,
  baseDir: string,
): Promise<WorkFile[][]> {
  const files: WorkFile[][] = Array.from({ length: sources }, () => []);
  const known = new Map<string, WorkFile>();
  for (const { source, path, fileBytes } of units) {
    if (files[source]!.some((file) => file.path === path)) continue;
    let file = known.get(path);
    if (!file) {
      file = { path, file: shortName(path, baseDir), bytes: fileBytes, sha256: await hashFile(path) };
      known.set(path, file);
    }
    files[source]!.push(file);
  }
  return files;
}

/** The place of a row as it is stored: its line or row, -1 - n for byte n. */
export function placeOf(unit: SourceUnit, line: number): number {
  return unit.start > 0 && isByteRange(unit.format) ? -1 - line : line;
}

function shortName(location: string, baseDir: string): string {
  if (!isAbsolute(location)) return location;
  const short = relative(baseDir, location);
  return short.startsWith('..') || isAbsolute(short) ? location : short;
}
