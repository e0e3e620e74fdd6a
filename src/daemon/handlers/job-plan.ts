import type { Handler } from './handler.ts';

/** Planned by a worker, with the engine's own sizing code. */
export const jobPlan: Handler<'job.plan'> = async (request, { home, oneShots }) => {
  const { recipe: text, base_dir, source, set } = request;
  const recipe = { text, base_dir, source, set };
  const answer = await oneShots.run({ task: 'plan', home: home.home, recipe, check_only: false }, 'planned');
  return answer.plan;
};
