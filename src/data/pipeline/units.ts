/**
 * The units of work of a preparation: ranges of large files, and groups of small ones, numbered in the order of the
 * sources. They follow from files and settings alone, so that any process on any machine can do any of them and the
 * pieces fit.
 */
import { isAbsolute, relative } from 'node:path';
import { FILES_AT_ONCE, inOrder } from '../../util/at_once.ts';
import { dataHash } from '../data_hash.ts';
import { DataFile } from '../sources/bytes.ts';
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
  const files = Array.from({ length: sources }, () => new Map<string, SourceUnit>());
  for (const { source, parts } of units) for (const part of parts) files[source]!.set(part.path, part);
  const listed = new Map(files.flatMap((own) => [...own]));
  const hashed = new Map<string, WorkFile>();
  const hash = async ([path, part]: [string, SourceUnit]): Promise<WorkFile> => {
    const sha256 = await dataHash(path);
    // The hash is that of what was listed.
    await DataFile.requireUnchanged(path, part.file);
    return { path, file: shortName(path, baseDir), bytes: part.file.bytes, sha256 };
  };
  for await (const file of inOrder(listed, FILES_AT_ONCE, hash)) hashed.set(file.path, file);
  return files.map((own) => [...own.keys()].map((path) => hashed.get(path)!));
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
