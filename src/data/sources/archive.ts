/**
 * Members of tar and zip archives. Nothing is ever unpacked to a disk under a member's name; names that lead out of
 * the archive are refused all the same, as whoever made them means harm.
 */
import { AnnealError } from '../../../proto/errors.ts';
import { type ArchiveFile, checkName, type Member } from './member.ts';
import { listTar, tarMember } from './tar.ts';
import { listZip, zipMember } from './zip.ts';

const MAX_MEMBERS = 1_000_000;

/** The files in an archive, in its order. */
export async function listMembers(archive: ArchiveFile): Promise<Member[]> {
  const members: Member[] = [];
  for await (const member of archive.kind === 'zip' ? listZip(archive) : listTar(archive)) {
    checkName(member.name, archive.location);
    if (members.length >= MAX_MEMBERS) {
      throw new AnnealError('file_unreadable', `${archive.location} has more than ${MAX_MEMBERS} members.`, {
        path: archive.location,
        hint: 'Keep rows together in larger files, such as JSONL.',
      });
    }
    members.push(member);
  }
  return members;
}

/** The content of a member as stored, decompressed as far as the archive is compressed. */
export function memberChunks(
  archive: ArchiveFile,
  member: Pick<Member, 'name' | 'index'>,
): AsyncGenerator<Buffer> {
  return archive.kind === 'zip' ? zipMember(archive, member) : tarMember(archive, member);
}
