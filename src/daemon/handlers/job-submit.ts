import type { WorkerTask } from '../../../proto/worker.ts';
import { changeOnce, type Handler } from './handler.ts';

/** A recipe that a worker finds fault with is answered with that error; no job is made. */
export const jobSubmit: Handler<'job.submit'> = async (request, services, context) => {
  const { recipe: text, base_dir, source, set, fresh, priority, preempt, selftest } = request;
  const recipe = { text, base_dir, source, set };
  const task: WorkerTask = { task: 'plan', home: services.home.home, recipe, check_only: true };
  const { recipe: head } = await services.oneShots.run(task, 'planned');
  const reply = changeOnce(services, context, () =>
    services.store.createJob({
      name: selftest ? `${head.name}-selftest` : head.name,
      kind: 'recipe',
      device: head.device,
      priority,
      recipe,
      fresh,
      preempt,
      window: request.window ?? head.window,
      retry: head.retry,
      selftest: selftest ?? null,
    }),
  );
  services.supervisor.schedule();
  return { job: services.store.job(reply.job.id).job };
};
