import type { Handler } from './handler.ts';

/** Goes down after the reply is on its way. */
export const shutdown: Handler<'shutdown'> = (_request, services) => {
  setImmediate(() => services.shutDown());
  return {};
};
