import type { Handler } from './handler.ts';

/** `last_seq` is of the job, so that a client knows whether there is more. */
export const jobEvents: Handler<'job.events'> = ({ job: reference, since, limit, kinds }, { store }) => {
  const { job } = store.find(reference);
  return { events: store.events(job.id, since, limit, kinds), last_seq: job.last_seq };
};
