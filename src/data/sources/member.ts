/** What archives are made of, whatever their kind. */
import { stat } from 'node:fs/promises';
import { AnnealError } from '../../../proto/errors.ts';
import { asFileError, formatBytes } from '../../util/files.ts';
import type { Compression } from './compression.ts';
import type { FileState } from './unit.ts';

/** An archive, and where it lies. */
export interface ArchiveFile {
  kind: 'tar' | 'zip';
  path: string;
  location: string;
  /** Of the archive as a whole. */
  compression: Compression;
  /** At an earlier look. */
  file: FileState;
  maxExpansion: number;
}

export interface Member {
  name: string;
  /** Among all entries of the archive: names may occur twice. */
  index: number;
  /** As stored. */
  bytes: number;
  /** Where its content lies in the archive's file; undefined where it has to be decompressed. */
  offset: number | undefined;
}

/** As long as a path may be on Linux: a longer name is no file's, and there may be a million of them. */
const MAX_NAME_BYTES = 4096;

/** Refuses names that climb out of the archive, or that no file can have. */
export function checkName(name: string, location: string): void {
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
    throw new AnnealError(
      'file_unreadable',
      `${location} has a member with a name of ${formatBytes(Buffer.byteLength(name))}: ${JSON.stringify(name.slice(0, 50))}...`,
      { path: location, hint: 'No file can have such a name: get the data elsewhere.' },
    );
  }
  const parts = name.split(/[/\\]/);
  if (!parts.includes('..') && !/^(?:[/\\]|[a-zA-Z]:)/.test(name) && !name.includes('\0') && name !== '')
    return;
  throw new AnnealError(
    'file_unreadable',
    `${location} has a member named ${JSON.stringify(name.slice(0, 200))}, which leads out of the archive.`,
    { path: location, hint: 'Such archives are made to overwrite files: get the data elsewhere.' },
  );
}

export function memberVanished({ location }: ArchiveFile, name: string): AnnealError {
  return new AnnealError('file_unreadable', `${location} no longer has ${name}: it was changed.`, {
    path: location,
    hint: 'Run again with the archive as it is now.',
  });
}

/** Keeps what was opened last for a while, so that the members of an archive do not open it anew each time. */
export class Kept<T> {
  #kept: { key: string; value: T; timer: NodeJS.Timeout } | undefined;
  readonly #close: (value: T) => Promise<void>;

  constructor(close: (value: T) => Promise<void>) {
    this.#close = close;
  }

  /** What is kept under the key, if it fits; it is the caller's then. Anything else is closed. */
  async take(key: string, fits: (value: T) => boolean): Promise<T | undefined> {
    const kept = this.#kept;
    this.#kept = undefined;
    clearTimeout(kept?.timer);
    if (kept === undefined) return undefined;
    if (kept.key === key && fits(kept.value)) return kept.value;
    await this.#close(kept.value);
    return undefined;
  }

  async keep(key: string, value: T): Promise<void> {
    await this.take('', () => false);
    const timer = setTimeout(() => void this.take('', () => false), IDLE_MS).unref();
    this.#kept = { key, value, timer };
  }
}

const IDLE_MS = 5000;

/** Names an archive in the state that it is in now. */
export async function archiveKey({ path, location, maxExpansion }: ArchiveFile): Promise<string> {
  try {
    const { size, mtimeMs, ino } = await stat(path);
    return JSON.stringify([path, size, mtimeMs, ino, maxExpansion]);
  } catch (error) {
    throw asFileError(error, location);
  }
}
