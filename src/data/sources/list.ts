/** Finding the units that patterns name, in an order of their own: the same on every machine with the same files. */
import { matchesGlob } from 'node:path';
import { AnnealError } from '../../../proto/errors.ts';
import { FILES_AT_ONCE, inOrder } from '../../util/at_once.ts';
import { resolveSources, type SourceFile } from '../files.ts';
import { damagedContainer } from '../formats/damaged.ts';
import { listMembers } from './archive.ts';
import { DataFile, FilePart } from './bytes.ts';
import { columnarRanges, isColumnar } from './columnar.ts';
import { compressionOf } from './compression.ts';
import { archiveOf, formatOf, HEAD_BYTES, isArchiveName, isKnownName } from './detect.ts';
import type { ArchiveFile, Member } from './member.ts';
import { DEFAULT_UNIT_BYTES, type SourceOptions, type SourceSettings } from './settings.ts';
import type { SourceUnit } from './unit.ts';

/** The units of all files that the patterns name, relative ones starting from `baseDir`, or of files found before. */
export async function listUnits(
  patterns: readonly (string | SourceFile)[],
  settings: SourceSettings,
  baseDir: string,
  options: SourceOptions = {},
): Promise<SourceUnit[]> {
  const units: SourceUnit[][] = [];
  const sources = await resolveSources(patterns, baseDir, settings, options);
  const { unitBytes = DEFAULT_UNIT_BYTES } = options;
  for await (const own of inOrder(sources, FILES_AT_ONCE, (file) => unitsOfFile(file, settings, unitBytes))) {
    units.push(own);
  }
  return units.flat();
}

async function unitsOfFile(
  source: SourceFile,
  settings: SourceSettings,
  unitBytes: number,
): Promise<SourceUnit[]> {
  const { path, location } = source;
  const file = await DataFile.open(path, location);
  try {
    const head = await file.read(0, Math.min(HEAD_BYTES, file.size));
    const compression = compressionOf(head);
    const kind = await archiveOf(file, head, compression, location, settings.max_expansion);
    if (kind !== undefined) {
      const { max_expansion: maxExpansion } = settings;
      const archive = { kind, path, location, compression, file: file.state, maxExpansion };
      // Awaited here: while the file is closed, nobody would see it fail.
      return await unitsOfArchive(source, archive, file, settings, unitBytes);
    }
    if (isArchiveName(location)) {
      throw damagedContainer(new Error('it does not begin as one'), location, 'archive');
    }
    if (source.members !== undefined) throw noMember(source, 'it is no archive');
    const format = await formatOf(file, head, compression, location, settings);
    const whole = { location, path, format, compression, start: 0, bytes: file.size, file: file.state };
    return await cut(whole, settings, unitBytes);
  } finally {
    await file.close();
  }
}

async function unitsOfArchive(
  source: SourceFile,
  archive: ArchiveFile,
  file: DataFile,
  settings: SourceSettings,
  unitBytes: number,
): Promise<SourceUnit[]> {
  const wanted = (await listMembers(archive)).filter(({ name }) =>
    source.members === undefined
      ? settings.format !== 'auto' || isKnownName(name)
      : name === source.members || matchesGlob(name, source.members),
  );
  if (wanted.length === 0) {
    throw noMember(
      source,
      source.members === undefined ? 'no member has the name of a data file' : 'no member has this name',
    );
  }
  const units: SourceUnit[][] = [];
  for (const member of wanted) units.push(await unitsOfMember(archive, file, member, settings, unitBytes));
  return units.flat();
}

async function unitsOfMember(
  archive: ArchiveFile,
  file: DataFile,
  member: Member,
  settings: SourceSettings,
  unitBytes: number,
): Promise<SourceUnit[]> {
  const { path, kind } = archive;
  const { name, index, offset, bytes } = member;
  const location = `${archive.location}!/${name}`;
  const unit = { location, path, member: name, start: 0, bytes, file: file.state };
  if (offset === undefined) {
    // Its first bytes are known to nobody before it is read: what it is goes by its name until then.
    const format = await formatOf(undefined, undefined, 'none', name, settings);
    return [
      { ...unit, format, compression: 'none', archive: { kind, index, compression: archive.compression } },
    ];
  }
  const part = new FilePart(file, offset, bytes);
  const head = await part.read(0, Math.min(HEAD_BYTES, bytes));
  const compression = compressionOf(head);
  const format = await formatOf(part, head, compression, location, settings);
  return cut({ ...unit, format, compression, within: { offset, bytes } }, settings, unitBytes);
}

/** The parts of content that can be cut; other content is one unit. */
async function cut(whole: SourceUnit, settings: SourceSettings, unitBytes: number): Promise<SourceUnit[]> {
  if (whole.compression !== 'none') return [whole];
  if (isColumnar(whole.format)) {
    return (await columnarRanges(whole, unitBytes)).map((range) => ({ ...whole, ...range }));
  }
  const splits = whole.format === 'jsonl' || (whole.format === 'text' && settings.text_unit !== 'document');
  if (!splits || whole.bytes <= unitBytes) return [whole];
  return Array.from({ length: Math.ceil(whole.bytes / unitBytes) }, (_, i): SourceUnit => {
    const start = i * unitBytes;
    const end = Math.min(whole.bytes, start + unitBytes);
    return { ...whole, start, end, bytes: end - start };
  });
}

function noMember({ location, members }: SourceFile, why: string): AnnealError {
  const named = members === undefined ? location : `${location}!/${members}`;
  return new AnnealError('file_not_found', `Nothing can be read from ${named}: ${why}.`, {
    path: named,
    hint: 'Name members as archive.tar!/folder/*.jsonl, or say what all of them are with format.',
  });
}
