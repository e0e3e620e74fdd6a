import type { Handler } from './handler.ts';

export const rankImport: Handler<'rank.import'> = async ({ labels, ...read }, { rankings }) => ({
  imported: await rankings.import(read, labels),
});
