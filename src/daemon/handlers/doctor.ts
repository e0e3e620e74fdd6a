import type { Handler } from './handler.ts';

/** Measured by a worker: only workers load the addon. */
export const doctor: Handler<'doctor'> = async (_request, { home, oneShots }) => {
  const answer = await oneShots.run({ task: 'doctor', home: home.home }, 'doctored');
  return answer.report;
};
