import type { Handler } from './handler.ts';

export const rankLabels: Handler<'rank.labels'> = ({ dataset, from, limit }, { rankings }) =>
  rankings.labels(dataset, from, limit);
