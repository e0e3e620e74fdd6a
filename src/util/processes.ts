/** Other processes of this machine. */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** Whether there is a process with this number; one of another user counts. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

let space: string | undefined;

/** Where process numbers mean what they mean here: this machine since its start, and in Linux this container. */
export function processSpace(): string {
  if (space !== undefined) return space;
  space = hostname();
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    space += ` ${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    // Not Linux: the machine's name alone.
  }
  return space;
}
