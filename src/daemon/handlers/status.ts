import { ANNEAL_VERSION } from '../../../proto/version.ts';
import type { Handler } from './handler.ts';

/** What the daemon is doing. */
export const status: Handler<'status'> = (_request, { home, store, supervisor, startedAt }) => {
  const busy = supervisor.devices();
  // Every machine has a cpu; other devices appear here when a recipe names them.
  const idle = busy.some(({ device }) => device === 'cpu')
    ? []
    : [{ device: 'cpu', job: null, memory_bytes: null }];
  return {
    version: ANNEAL_VERSION,
    pid: process.pid,
    home: home.home,
    uptime_seconds: (performance.now() - startedAt) / 1000,
    memory_bytes: process.memoryUsage.rss(),
    devices: [...busy, ...idle],
    jobs: store.countByState(),
    queue: store
      .list({ states: ['queued'], kinds: ['recipe'] })
      .toSorted((a, b) => b.job.priority - a.job.priority || a.row - b.row)
      .map(({ job }) => ({ job: job.id, name: job.name, text: job.waiting?.text ?? 'starts' })),
  };
};
