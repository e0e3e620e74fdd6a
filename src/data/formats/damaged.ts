/** What libraries that read containers throw, as errors that say what and where. */
import { AnnealError } from '../../../proto/errors.ts';

/** What a DataView says of a place that is not in its bytes. */
const OUTSIDE = /outside the bounds/;
/** What yauzl, the Arrow library and our index of it say of what is sound, and beyond them. */
const BEYOND = /^(?:unsupported compression method|Unrecognized type|Feather V1)/;

/** A container whose content makes no sense: `kind` is what it should be. */
export function damagedContainer(error: unknown, location: string, kind: string): AnnealError {
  if (error instanceof AnnealError) return error;
  const said = error instanceof Error ? error.message : String(error);
  const message = OUTSIDE.test(said) ? 'it refers to bytes that it does not have' : said;
  if (BEYOND.test(message)) {
    return new AnnealError('file_unreadable', `${location} has what is not read here (${message}).`, {
      path: location,
      hint: 'Write it anew: zip members with deflate, Arrow as IPC with types such as text, numbers, lists and structs.',
      cause: error,
    });
  }
  return new AnnealError(
    'file_unreadable',
    `${location} is damaged, cut short, or no ${kind} (${message.split('\n')[0]}).`,
    { path: location, hint: 'Fetch or make the file again.', cause: error },
  );
}

/** Refuses an empty file: its library would say something else. */
export function requireContent({ size, location }: { size: number; location: string }, kind: string): void {
  if (size > 0) return;
  throw new AnnealError('file_unreadable', `${location} is empty: no ${kind}.`, {
    path: location,
    hint: 'Fetch or make the file again, or leave it out.',
  });
}
