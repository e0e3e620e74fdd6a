import type { Handler } from './handler.ts';

export const rankLabel: Handler<'rank.label'> = ({ task, ranking, ...selection }, { rankings }) =>
  rankings.label(selection, task, ranking);
