/** Zip archives: an index at the end says where each member lies, so that any of them is opened at once. */
import { crc32 } from 'node:zlib';
import { type Entry, openPromise, type ZipFile } from 'yauzl';
import { AnnealError } from '../../../proto/errors.ts';
import { damagedContainer } from '../formats/damaged.ts';
import { DataFile } from './bytes.ts';
import { expandsTooFar, FREE_BYTES } from './compression.ts';
import { type ArchiveFile, archiveKey, checkName, Kept, type Member, memberVanished } from './member.ts';

interface OpenZip {
  zip: ZipFile;
  entries: Entry[];
}

const MAX_ENTRIES = 4_000_000;

const zips = new Kept<OpenZip>(async ({ zip }) => zip.close());

export async function* listZip(archive: ArchiveFile): AsyncGenerator<Member> {
  const open = await openZip(archive);
  await zips.keep(await archiveKey(archive), open);
  for (const [index, entry] of open.entries.entries()) {
    const { fileName: name, compressedSize: bytes } = entry;
    if (!name.endsWith('/') && !isLink(entry)) yield { name, index, bytes, offset: undefined };
  }
}

/** The upper half of the attributes is the file's mode on Unix; a link's content is where it leads. */
function isLink({ externalFileAttributes }: Entry): boolean {
  return ((externalFileAttributes >>> 16) & 0o170000) === 0o120000;
}

export async function* zipMember(
  archive: ArchiveFile,
  member: Pick<Member, 'name' | 'index'>,
): AsyncGenerator<Buffer> {
  const key = await archiveKey(archive);
  // Also when the index is known, a file that was changed since is noticed here.
  const file = await DataFile.open(archive.path, archive.location, archive.file);
  const open = (await zips.take(key, () => true)) ?? (await openZip(archive));
  try {
    const entry = open.entries[member.index];
    if (entry?.fileName !== member.name) throw memberVanished(archive, member.name);
    const location = `${archive.location}!/${member.name}`;
    if (entry.isEncrypted()) {
      throw new AnnealError('file_unreadable', `${location} is encrypted.`, {
        path: location,
        hint: 'Unpack the archive with its password first.',
      });
    }
    try {
      const stream = await open.zip.openReadStreamPromise(entry);
      let crc = 0;
      for await (const chunk of stream) {
        crc = crc32(chunk as Buffer, crc);
        yield chunk as Buffer;
      }
      if (crc !== entry.crc32) throw new Error('its checksum differs');
    } catch (error) {
      throw damagedContainer(error, location, 'zip member');
    }
    await file.verify();
  } finally {
    await file.close();
    await zips.keep(key, open);
  }
}

async function openZip(archive: ArchiveFile): Promise<OpenZip> {
  const { path, location, maxExpansion } = archive;
  const { bytes: fileBytes } = archive.file;
  let zip: ZipFile | undefined;
  try {
    zip = await openPromise(path, { lazyEntries: true, autoClose: false });
    const entries: Entry[] = [];
    let size = 0;
    for await (const entry of zip.eachEntry()) {
      size += entry.uncompressedSize;
      // Members may lie over each other, so that a small archive grows to any size: what counts is all of them.
      if (size > FREE_BYTES && size > fileBytes * maxExpansion) {
        throw expandsTooFar(location, fileBytes, size, maxExpansion);
      }
      entries.push(entry);
      if (entries.length > MAX_ENTRIES) throw new Error(`it has more than ${MAX_ENTRIES} entries`);
    }
    return { zip, entries };
  } catch (error) {
    zip?.close();
    const name = /^(?:invalid relative path|absolute path|invalid characters in fileName): (.*)/s.exec(
      (error as Error).message,
    )?.[1];
    if (name !== undefined) checkName(name, location);
    throw damagedContainer(error, location, 'zip archive');
  }
}
