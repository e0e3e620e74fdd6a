import { AnnealError } from '../../../proto/errors.ts';
import { changeOnce, type Handler } from './handler.ts';

/** Ends a job that waits at once, a running one when its worker has stopped. */
export const jobCancel: Handler<'job.cancel'> = ({ job: reference }, services, context) => {
  const { store, supervisor, generations } = services;
  const { job } = store.find(reference);
  const { id, state } = job;
  if (state === 'succeeded' || state === 'failed') {
    throw new AnnealError('job_state', `${id} (${job.name}) cannot be cancelled: it has ${state}.`, {
      path: 'job',
    });
  }
  const reply = changeOnce(services, context, () => {
    if (state === 'queued' || state === 'paused') return store.setState(id, 'cancelled');
    if (state === 'running') store.setIntent(id, 'cancel');
    return job;
  });
  if (state === 'running') {
    if (job.kind === 'generate') generations.cancel(id);
    else supervisor.stop(id, 'cancel');
  } else supervisor.schedule();
  return reply;
};
