/** Memory of this machine that is free for a session, and the refusal when it would not do. Sizes in bytes. */
import { AnnealError } from '../../proto/errors.ts';
import { formatBytes } from './files.ts';

/** What the process itself needs beside the engine: code, JavaScript heap, buffers. */
const PROCESS_BYTES = 128e6;

/** Bytes that may still be used, within the limit of the process's control group if there is one. */
export function availableMemory(): number {
  return process.availableMemory();
}

/** Refuses (`out_of_memory`) when a session of this size would not fit. */
export function requireMemory(bytes: number, what: string): void {
  const available = availableMemory();
  if (bytes + PROCESS_BYTES <= available) return;
  throw new AnnealError(
    'out_of_memory',
    `${what} needs ${formatBytes(bytes + PROCESS_BYTES)} of memory, but ${formatBytes(available)} are free.`,
    {
      hint: 'Lower per_device_train_batch_size or max_length, set gradient_checkpointing: true, or use a smaller model.',
    },
  );
}
