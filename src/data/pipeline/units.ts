/**
 * The units of work of a preparation: ranges of large files, and groups of small ones, numbered in the order of the
 * sources. They follow from files and settings alone, so that any process on any machine can do any of them and the
 * pieces fit.
 */
import { stat } from 'node:fs/promises';
import { isAbsolute, relative } from 'node:path';
import { asFileError } from '../../util/files.ts';
import { hashFile } from '../../util/hash.ts';
import { changed } from '../sources/bytes.ts';
import { listUnits } from '../sources/list.ts';
import type { SourceOptions } from '../sources/settings.ts';
import { isByteRange, type SourceUnit } from '../sources/unit.ts';
import type { PrepareSource } from './settings.ts';

/** What a unit reads: a file, a range of one, or an archive's member. */
export interface WorkPart extends SourceUnit {
  /** `location` as results name it: relative to the recipe where the file lies beside or below it. */
  name: string;
}

export interface WorkUnit {
  /** Place among all units. */
  index: number;
  /** Which of the sources it belongs to. */
  source: number;
  parts: WorkPart[];
  /** Bytes of the stored files that it takes. */
  bytes: number;
}

/** A data file of a source. */
export interface WorkFile {
  path: string;
  file: string;
  bytes: number;
  sha256: string;
  /** When it was written to last, as of when it was hashed; milliseconds since 1970. */
  modified: number;
}

/** Neighbours that are smaller than a unit together are one: a folder a file would cost more than the file. */
const MOST_PARTS = 4096;

export async function listWork(
  sources: readonly PrepareSource[],
  baseDir: string,
  options: SourceOptions & { unitBytes: number },
): Promise<WorkUnit[]> {
  const units: WorkUnit[] = [];
  for (const [source, settings] of sources.entries()) {
    let open: WorkUnit | undefined;
    for (const part of await listUnits(settings.files, settings, baseDir, options)) {
      if (!open || open.bytes + part.bytes > options.unitBytes || open.parts.length === MOST_PARTS) {
        open = { index: units.length, source, parts: [], bytes: 0 };
        units.push(open);
      }
      open.parts.push({ ...part, name: shortName(part.location, baseDir) });
      open.bytes += part.bytes;
    }
  }
  return units;
}

/** The files of each source with their checksums, in order. */
export async function hashFiles(
  units: readonly WorkUnit[],
  sources: number,
  baseDir: string,
): Promise<WorkFile[][]> {
  const files = Array.from({ length: sources }, () => new Map<string, WorkFile>());
  const known = new Map<string, WorkFile>();
  for (const { source, parts } of units) {
    for (const { path, fileBytes } of parts) {
      let file = known.get(path);
      if (!file) {
        const { modified } = await lookAt(path);
        const sha256 = await hashFile(path);
        file = { path, file: shortName(path, baseDir), bytes: fileBytes, sha256, modified };
        await requireUnchanged(file);
        known.set(path, file);
      }
      files[source]!.set(path, file);
    }
  }
  return files.map((each) => [...each.values()]);
}

/** Throws unless the file is still the one that was listed and hashed. */
export async function requireUnchanged({ path, bytes, modified }: WorkFile): Promise<void> {
  const now = await lookAt(path);
  if (now.bytes !== bytes) throw changed(path, `it had ${bytes} bytes and has ${now.bytes}`);
  if (now.modified !== modified)
    throw changed(path, `it was written to at ${new Date(now.modified).toISOString()}`);
}

async function lookAt(path: string): Promise<Pick<WorkFile, 'bytes' | 'modified'>> {
  try {
    const { size, mtimeMs } = await stat(path);
    return { bytes: size, modified: mtimeMs };
  } catch (error) {
    throw asFileError(error, path);
  }
}

/** The place of a row as it is stored: its line or row, -1 - n for byte n. */
export function placeOf(part: SourceUnit, line: number): number {
  return part.start > 0 && isByteRange(part.format) ? -1 - line : line;
}

function shortName(location: string, baseDir: string): string {
  if (!isAbsolute(location)) return location;
  const short = relative(baseDir, location);
  return short.startsWith('..') || isAbsolute(short) ? location : short;
}
