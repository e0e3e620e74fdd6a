/** Finding duplicates, and repeated lines and paragraphs, by what the units of a dataset keep of their documents. */
import { AnnealError } from '../../../proto/errors.ts';
import type {
  Addon,
  Duplicates,
  FingerprintFiles,
  FoundParts,
  RepeatedPartOptions,
} from '../../native/addon.ts';
import { nearOptions } from './near.ts';
import type { DedupSettings } from './settings.ts';

export interface Place {
  addon: Addon;
  threads: number;
  /** Folder for records that do not fit into memory. */
  dir: string;
}

/** The documents that go. `files` in global order; `group` is the number of the source. */
export async function findDuplicates(
  settings: DedupSettings,
  files: readonly FingerprintFiles[],
  { addon, threads, dir }: Place,
): Promise<Duplicates> {
  const { near, across_sources, memory_bytes } = settings;
  const options = near && nearOptions(near);
  const verify = near?.verify ? { similarity: near.threshold, permutations: near.permutations } : undefined;
  return spilling(dir, () =>
    addon.findDuplicates({
      files: files.map((file) => ({ ...file, group: across_sources ? 0 : file.group })),
      ...(options && { near: { bands: options.bands, ...(verify && { verify }) } }),
      memoryBytes: memory_bytes,
      dir,
      threads,
    }),
  );
}

/** The lines or paragraphs that `minDocuments` documents have. */
export function findRepeatedParts(
  settings: Pick<DedupSettings, 'memory_bytes'>,
  files: RepeatedPartOptions['files'],
  minDocuments: number,
  { addon, threads, dir }: Place,
): Promise<FoundParts> {
  return spilling(dir, () =>
    addon.findRepeatedParts({ files, minDocuments, memoryBytes: settings.memory_bytes, dir, threads }),
  );
}

/** A full disk, in words: nothing of what was spilled remains. */
async function spilling<T>(dir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new AnnealError('disk_full', `No room in ${dir} to sort fingerprints of documents.`, {
        hint: 'Free some space, or raise dedup.memory_bytes so that less goes to the disk.',
        path: dir,
        cause: error,
      });
    }
    // The message of the system names the file.
    if (code?.startsWith('E'))
      throw new AnnealError('file_unreadable', `${message}.`, { path: dir, cause: error });
    throw error;
  }
}
