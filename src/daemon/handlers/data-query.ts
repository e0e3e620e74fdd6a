import type { Handler } from './handler.ts';

/** Answered by a worker: data may be large, and tokenizers need the addon. */
export const dataQuery: Handler<'data.query'> = async (request, { home, oneShots }) => {
  const { answer } = await oneShots.run({ task: 'data', home: home.home, request }, 'answered');
  return answer;
};
