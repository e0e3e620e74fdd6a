import type { Handler } from './handler.ts';

export const rankImport: Handler<'rank.import'> = async ({ dataset, labels }, { rankings }) => ({
  imported: await rankings.import(dataset, labels),
});
