import type { Handler } from './handler.ts';

export const jobGet: Handler<'job.get'> = ({ job }, { store }) => ({ job: store.find(job).job });
