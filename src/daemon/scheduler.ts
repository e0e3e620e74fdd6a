/**
 * Which jobs start, which running ones give way, and what the others wait for: a function of the queue and the time.
 * A device runs one job at a time. The rest wait by priority, then age; a job with `preempt` has a running one of
 * lower priority checkpointed and queued again. A job runs only in its time window, and after a fault not before
 * its delay is over; while it waits for that it keeps nobody from the device.
 */
import type { Waiting } from '../../proto/commands.ts';
import { clockTime, parseWindow, windowAt } from '../../proto/window.ts';
import type { StoredJob } from './store.ts';

/** A worker that holds a device. */
export interface Holder {
  id: string;
  device: string;
  /** undefined: it cannot be asked to give way (it does already, or belongs to the last daemon). */
  stored: StoredJob | undefined;
}

export interface Decision {
  /** At most one for each device that is free. */
  start: StoredJob[];
  /** Jobs to be checkpointed and queued again, with the reason for people. */
  yield: { id: string; text: string }[];
  /** What each job that stays in the queue waits for. */
  waiting: Map<string, Waiting>;
  /** When to decide again if nothing happens before (Unix milliseconds). */
  again: number | undefined;
}

/** Decides for the queued jobs and the holders of the devices at a time (Unix milliseconds). */
export function decide(queued: StoredJob[], holders: Holder[], now: number): Decision {
  const decision: Decision = { start: [], yield: [], waiting: new Map(), again: undefined };
  const again = (time: number): void => {
    decision.again = Math.min(decision.again ?? time, time);
  };
  /** Who has each device, or will have it when that one has given way. */
  const taken = new Map<string, Holder>();
  for (const holder of holders) {
    taken.set(holder.device, holder);
    const window = holder.stored && windowOf(holder.stored, now);
    if (!window) continue;
    again(window.changesAt);
    if (window.open) continue;
    // It opens in the future, so that is when the job goes on.
    const text = `Its window ${holder.stored!.window} has ended: it goes on at ${clockTime(window.changesAt)}.`;
    decision.yield.push({ id: holder.id, text });
    taken.set(holder.device, { ...holder, stored: undefined });
  }
  const order = queued.toSorted((a, b) => b.job.priority - a.job.priority || a.row - b.row);
  for (const stored of order) {
    const { id, device, priority } = stored.job;
    const time = waitsForTime(stored, now);
    if (time) {
      decision.waiting.set(id, time);
      again(time.until! * 1000);
      continue;
    }
    const holder = taken.get(device);
    if (!holder) {
      decision.start.push(stored);
      const window = windowOf(stored, now);
      if (window) again(window.changesAt);
      taken.set(device, { id, device, stored: undefined });
      continue;
    }
    decision.waiting.set(id, {
      reason: 'device',
      job: holder.id,
      until: null,
      text: `waits for ${holder.id}`,
    });
    if (stored.preempt && holder.stored && holder.stored.job.priority < priority) {
      decision.yield.push({
        id: holder.id,
        text: `${id} (${stored.job.name}) goes first: this job goes on after it.`,
      });
      taken.set(device, { ...holder, stored: undefined });
    }
  }
  return decision;
}

function windowOf({ window }: StoredJob, now: number): { open: boolean; changesAt: number } | undefined {
  const parsed = window === null ? undefined : parseWindow(window);
  return parsed && windowAt(parsed, now);
}

function waitsForTime(stored: StoredJob, now: number): Waiting | undefined {
  if (stored.notBefore !== null && stored.notBefore * 1000 > now) {
    const until = stored.notBefore;
    return { reason: 'retry', job: null, until, text: `tries again at ${clockTime(until * 1000)}` };
  }
  const window = windowOf(stored, now);
  if (!window || window.open) return undefined;
  const text = `waits for ${clockTime(window.changesAt)}`;
  return { reason: 'window', job: null, until: window.changesAt / 1000, text };
}
