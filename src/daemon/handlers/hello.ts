import { ANNEAL_VERSION, PROTOCOL_VERSION } from '../../../proto/version.ts';
import type { Handler } from './handler.ts';

/** Who is here, and where its events are. */
export const hello: Handler<'hello'> = (_request, _services, context) => ({
  protocol: PROTOCOL_VERSION,
  version: ANNEAL_VERSION,
  pid: process.pid,
  events: context.events,
});
