import { AnnealError } from '../../../proto/errors.ts';
import { changeOnce, type Handler } from './handler.ts';

/** A queued job is paused at once; a running one when its worker has checkpointed. */
export const jobPause: Handler<'job.pause'> = ({ job: reference }, services, context) => {
  const { store, supervisor } = services;
  const { job, intent } = store.find(reference);
  const { id, state } = job;
  if (job.kind !== 'recipe' || !['queued', 'running', 'paused'].includes(state) || intent === 'cancel') {
    throw new AnnealError(
      'job_state',
      `${id} (${job.name}) cannot be paused: it is ${intent ? 'being cancelled' : state}.`,
      {
        hint: 'Only a recipe that is queued or running can be paused.',
        path: 'job',
      },
    );
  }
  const reply = changeOnce(services, context, () => {
    if (state === 'queued') return store.setState(id, 'paused');
    if (state === 'running') store.setIntent(id, 'pause');
    return job;
  });
  if (state === 'running') supervisor.stop(id, 'pause');
  else supervisor.schedule();
  return reply;
};
