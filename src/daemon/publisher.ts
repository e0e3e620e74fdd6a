/**
 * Publishes stored events to whoever subscribed. A PUB socket never waits: for a subscriber that does not read,
 * libzmq keeps a bounded queue and drops what goes beyond it; the gap in the sequence numbers tells the subscriber
 * to ask for `job.events`.
 */
import type { Publisher } from 'zeromq';
import type { JobEvent } from '../../proto/events.ts';
import { encodeBody, eventTopic } from '../../proto/wire.ts';
import type { Log } from './log.ts';

/** Messages kept for one slow subscriber; a few hundred bytes each. */
export const SUBSCRIBER_QUEUE = 10_000;

export class EventPublisher {
  readonly #sockets: Publisher[] = [];
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  add(socket: Publisher): void {
    this.#sockets.push(socket);
  }

  publish(events: JobEvent[]): void {
    for (const event of events) {
      const frames = [eventTopic(event.job, event.kind), encodeBody({ ...event })];
      for (const socket of this.#sockets) {
        socket
          .send(frames)
          .catch((error: unknown) => this.#log.error({ err: error }, 'an event was not published'));
      }
    }
  }
}
