import { AnnealError } from '../../../proto/errors.ts';
import { changeOnce, type Handler } from './handler.ts';

/** Queues the job again; one that is queued or running already is left as it is. */
export const jobResume: Handler<'job.resume'> = ({ job: reference }, services, context) => {
  const { store, supervisor } = services;
  const { job, intent } = store.find(reference);
  const { id, state } = job;
  if (
    job.kind !== 'recipe' ||
    state === 'succeeded' ||
    (state === 'running' && intent !== null && intent !== 'yield')
  ) {
    const is = intent === 'pause' ? 'being paused' : intent === 'cancel' ? 'being cancelled' : state;
    throw new AnnealError('job_state', `${id} (${job.name}) cannot be resumed: it is ${is}.`, {
      hint: intent
        ? 'Wait until its worker has written its checkpoint.'
        : 'Run the recipe again for a new job.',
      path: 'job',
    });
  }
  const reply = changeOnce(services, context, () => {
    if (state === 'queued' || state === 'running') return job;
    store.forgetFailures(id);
    return store.setState(id, 'queued');
  });
  supervisor.schedule();
  return { job: store.job(reply.job.id).job };
};
