/**
 * Tar archives, read from front to back. Where the archive is not compressed, the listing says where each member
 * lies, and members are read like files. Else a reader is kept for the next member, so that reading all members in
 * order reads the archive once.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Extract, extract } from 'tar-stream';
import { AnnealError } from '../../../proto/errors.ts';
import { damagedContainer } from '../formats/damaged.ts';
import { DataFile } from './bytes.ts';
import { decompress } from './compression.ts';
import { type ArchiveFile, archiveKey, Kept, type Member, memberVanished } from './member.ts';

type Entry = Extract extends AsyncIterable<infer E> ? E : never;

const HEADER_BYTES = 512;

export async function* listTar(archive: ArchiveFile): AsyncGenerator<Member> {
  const cursor = await TarCursor.open(archive);
  try {
    for (let entry = await cursor.next(); entry !== undefined; entry = await cursor.next()) {
      const { type, name, size } = entry.header;
      checkKind(entry.header, archive.location);
      if (type !== 'file' && type !== 'contiguous-file') continue;
      const offset = archive.compression === 'none' ? entry.offset + HEADER_BYTES : undefined;
      yield { name, index: cursor.taken - 1, bytes: size, offset };
    }
  } finally {
    await cursor.close();
  }
}

/** Refuses members whose content does not lie there as it is; folders, links and devices have none. */
function checkKind({ type, name, size, pax }: Entry['header'], location: string): void {
  const isSparse = Object.keys(pax ?? {}).some((key) => key.startsWith('GNU.sparse.'));
  // Of a kind that the library does not know: sparse as older archives have it, or going on in another archive.
  const isUnknown = (type as string | null) === null && size !== undefined && size > 0;
  if (!isSparse && !isUnknown) return;
  throw new AnnealError(
    'file_unreadable',
    `${location} has a member ${JSON.stringify(name.slice(0, 200))} that is stored in pieces (${isSparse ? 'a sparse file' : 'a sparse file, or one of several volumes'}).`,
    { path: location, hint: 'Make the archive again without --sparse and --multi-volume.' },
  );
}

const cursors = new Kept<TarCursor>((cursor) => cursor.close());

export async function* tarMember(
  archive: ArchiveFile,
  member: Pick<Member, 'name' | 'index'>,
): AsyncGenerator<Buffer> {
  const key = await archiveKey(archive);
  const cursor =
    (await cursors.take(key, ({ taken }) => taken <= member.index)) ?? (await TarCursor.open(archive));
  let whole = false;
  try {
    let entry: Entry | undefined;
    while (cursor.taken <= member.index) {
      entry = await cursor.next();
      if (entry === undefined) throw memberVanished(archive, member.name);
    }
    if (entry!.header.name !== member.name) throw memberVanished(archive, member.name);
    yield* cursor.content();
    await cursor.verify();
    whole = true;
  } finally {
    if (whole) await cursors.keep(key, cursor);
    else await cursor.close();
  }
}

class TarCursor {
  readonly #file: DataFile;
  readonly #archive: ArchiveFile;
  readonly #tar: Extract;
  readonly #entries: AsyncIterator<Entry>;
  /** The entry whose content was not read yet. */
  #open: Entry | undefined;
  /** Entries that were passed. */
  taken = 0;

  private constructor(file: DataFile, archive: ArchiveFile) {
    this.#file = file;
    this.#archive = archive;
    const { compression, location, maxExpansion } = archive;
    const chunks =
      compression === 'none' ? file.chunks() : decompress(file.chunks(), compression, location, maxExpansion);
    this.#tar = extract();
    // A failure also destroys the extractor, so whoever iterates sees it.
    pipeline(Readable.from(chunks), this.#tar as unknown as NodeJS.WritableStream).catch(() => undefined);
    this.#entries = this.#tar[Symbol.asyncIterator]();
  }

  static async open(archive: ArchiveFile): Promise<TarCursor> {
    return new TarCursor(await DataFile.open(archive.path, archive.location, archive.file), archive);
  }

  /** The next entry; what is left of the last one is passed over. */
  async next(): Promise<Entry | undefined> {
    try {
      this.#open?.resume();
      const { value, done } = await this.#entries.next();
      this.#open = done ? undefined : value;
      if (done) return undefined;
      // The library waits for ever for content whose size it could not read.
      if (!Number.isSafeInteger(value.header.size)) throw new Error('a header says no size');
      this.taken += 1;
      return value;
    } catch (error) {
      throw damagedContainer(error, this.#archive.location, 'tar archive');
    }
  }

  /** The content of the entry that came last. */
  async *content(): AsyncGenerator<Buffer> {
    const entry = this.#open!;
    this.#open = undefined;
    try {
      for await (const chunk of entry) yield chunk as Buffer;
    } catch (error) {
      throw damagedContainer(error, this.#archive.location, 'tar archive');
    }
  }

  verify(): Promise<void> {
    return this.#file.verify();
  }

  async close(): Promise<void> {
    this.#open?.on('error', () => undefined);
    this.#tar.on('error', () => undefined);
    this.#tar.destroy();
    await this.#file.close();
  }
}
