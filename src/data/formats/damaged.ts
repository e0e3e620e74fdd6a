/** What libraries that read containers throw, as errors that say what and where. */
import { AnnealError } from '../../../proto/errors.ts';

/** A container whose content makes no sense: `kind` is what it should be. */
export function damagedContainer(error: unknown, location: string, kind: string): AnnealError {
  if (error instanceof AnnealError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new AnnealError(
    'file_unreadable',
    `${location} is damaged, cut short, or no ${kind} (${message.split('\n')[0]}).`,
    { path: location, hint: 'Fetch or make the file again.', cause: error },
  );
}
