import type { Handler } from './handler.ts';

export const rankOpen: Handler<'rank.open'> = (request, { rankings }) => rankings.open(request);
