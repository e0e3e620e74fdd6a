import type { Handler } from './handler.ts';

export const rankTask: Handler<'rank.task'> = ({ task, ...selection }, { rankings }) =>
  rankings.task(selection, task);
