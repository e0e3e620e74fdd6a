/**
 * The events of a job up to the point where nothing more will happen by itself: it succeeded, failed, was cancelled
 * or paused. Also how Ctrl-C ends a wait for them.
 */
import type { Job } from '../../proto/commands.ts';
import type { JobEvent } from '../../proto/events.ts';
import type { Client } from '../client/client.ts';
import { settledStates } from './view/model.ts';

/**
 * Yields the events after `since`, then those that come, until the job has settled or the signal fires. A state that
 * was left again (paused, then resumed) does not end it.
 */
export async function* eventsUntilSettled(
  client: Client,
  job: Pick<Job, 'id' | 'state' | 'last_seq'>,
  options: { since?: number; signal?: AbortSignal } = {},
): AsyncGenerator<JobEvent> {
  const { since = 0, signal } = options;
  if (job.state in settledStates && job.last_seq <= since) return;
  const follow = new AbortController();
  const aborted = new Promise<'aborted'>((resolve) => {
    signal?.addEventListener('abort', () => resolve('aborted'), { once: true });
    if (signal?.aborted) resolve('aborted');
  });
  const events = client.follow(job.id, { since, signal: follow.signal })[Symbol.asyncIterator]();
  try {
    for (;;) {
      const step = await Promise.race([events.next(), aborted]);
      if (step === 'aborted' || step.done) return;
      const event = step.value;
      yield event;
      // Old states of a job that went on since are followed by more events; only the newest can be the end.
      if (event.kind !== 'state' || !(event.body.state in settledStates) || event.seq < job.last_seq)
        continue;
      const now = await client.call('job.get', { job: job.id });
      if (now.job.state in settledStates && now.job.last_seq <= event.seq) return;
    }
  } finally {
    // Aborting ends a wait for the next event; returning closes the subscription.
    follow.abort();
    await events.return?.(undefined);
  }
}

/** Runs `work` with a signal that Ctrl-C fires instead of ending the process. */
export async function withInterrupt<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const interrupt = () => controller.abort();
  process.on('SIGINT', interrupt);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', interrupt);
  }
}
