import type { Handler } from './handler.ts';

export const jobList: Handler<'job.list'> = ({ states, kinds, limit }, { store }) => ({
  jobs: store.list({ ...(states && { states }), kinds, limit }).map(({ job }) => job),
});
