import type { Handler } from './handler.ts';

export const rankLabels: Handler<'rank.labels'> = ({ from, limit, ...read }, { rankings }) =>
  rankings.labels(read, from, limit);
