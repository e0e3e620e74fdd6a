/**
 * The events of one job, each once and in order. Published events are fast but may be lost (a slow reader, a daemon
 * that was killed); stored ones are complete. So: read what is stored, then take what is published as long as it
 * joins on, and read the store again at every gap, and once a second of silence, because the last event may be the
 * one that was lost.
 */
import { Subscriber } from 'zeromq';
import type { JobEvent } from '../../proto/events.ts';
import { decodeBody, MAX_MESSAGE_BYTES } from '../../proto/wire.ts';
import type { Client, CurveOptions } from './client.ts';

const PAGE = 1_000;
/** The subscription may reach the daemon after the first look into the store: look again soon. */
const FIRST_SILENCE_MS = 50;
const SILENCE_MS = 1_000;
/** How long a daemon may be away, for a restart. */
const PATIENCE_MS = 60_000;

/** Yields the events after `since` until the signal fires. */
export async function* followEvents(
  client: Pick<Client, 'call'>,
  address: string,
  curve: CurveOptions,
  job: string,
  since: number,
  signal: AbortSignal,
): AsyncGenerator<JobEvent> {
  if (signal.aborted) return;
  const published = new PublishedEvents(address, curve, job, signal);
  let last = since;
  let silence = FIRST_SILENCE_MS;
  try {
    for (;;) {
      let page: JobEvent[];
      do {
        const options = { patienceMs: PATIENCE_MS, timeoutMs: PATIENCE_MS, signal };
        page = (await client.call('job.events', { job, since: last, limit: PAGE }, options))
          .events as JobEvent[];
        for (const event of page) {
          last = event.seq;
          yield event;
        }
      } while (page.length === PAGE);
      for (;;) {
        const event = await published.next(silence);
        if (signal.aborted) return;
        if (event === undefined) break;
        if (event.seq <= last) continue;
        if (event.seq > last + 1) break;
        last = event.seq;
        yield event;
      }
      silence = SILENCE_MS;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    published.close();
  }
}

/** A subscription whose events can be waited for with a time limit. */
class PublishedEvents {
  readonly #socket: Subscriber;
  readonly #waiting: JobEvent[] = [];
  #wake: (() => void) | undefined;

  constructor(address: string, curve: CurveOptions, job: string, signal: AbortSignal) {
    this.#socket = new Subscriber({
      linger: 0,
      maxMessageSize: MAX_MESSAGE_BYTES,
      reconnectInterval: 50,
      ...curve,
    });
    this.#socket.connect(address);
    this.#socket.subscribe(`job.${job}.`);
    signal.addEventListener('abort', () => this.#wake?.(), { once: true });
    void this.#receive();
  }

  /** The next event; undefined after `ms` without one, or when the signal fired. */
  async next(ms: number): Promise<JobEvent | undefined> {
    if (this.#waiting.length === 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    return this.#waiting.shift();
  }

  close(): void {
    this.#socket.close();
  }

  async #receive(): Promise<void> {
    for await (const [, body] of this.#socket) {
      if (!body) continue;
      // What a reader leaves waiting is dropped beyond a page: the store has it.
      if (this.#waiting.length < PAGE) this.#waiting.push(decodeBody(body) as unknown as JobEvent);
      this.#wake?.();
    }
  }
}
