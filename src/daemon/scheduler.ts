/** Which queued jobs may start: a device runs one job at a time; the rest wait by priority, then age. */
import type { StoredJob } from './store.ts';

/** Of the queued jobs those to start now, at most one for each device that is not busy. */
export function nextToStart(queued: StoredJob[], busyDevices: ReadonlySet<string>): StoredJob[] {
  const taken = new Set(busyDevices);
  const order = queued.toSorted((a, b) => b.job.priority - a.job.priority || a.row - b.row);
  return order.filter(({ job }) => {
    if (taken.has(job.device)) return false;
    taken.add(job.device);
    return true;
  });
}
