/** One HTTP request for bytes as they are: redirects are followed, nothing is decompressed, and a stall is an error. */
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';

export interface Response {
  status: number;
  headers: IncomingHttpHeaders;
  body: AsyncIterable<Buffer>;
  /** Gives up what was not read of the body. */
  discard(): void;
}

/** A request that went wrong below HTTP: worth another try. */
export class ConnectionError extends Error {}

const MAX_REDIRECTS = 10;

export async function request(
  url: string,
  headers: Record<string, string>,
  stallMs: number,
  signal: AbortSignal | undefined,
): Promise<Response> {
  let target = url;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const message = await send(target, headers, stallMs, signal);
    const status = message.statusCode ?? 0;
    const { location } = message.headers;
    if (status >= 300 && status < 400 && status !== 304 && location !== undefined) {
      message.resume();
      target = new URL(location, target).href;
      if (!/^https?:/.test(target)) throw new Error(`it redirects to ${target}`);
      continue;
    }
    return {
      status,
      headers: message.headers,
      body: bodyOf(message, stallMs),
      discard: () => message.destroy(),
    };
  }
  throw new Error(`it redirects more than ${MAX_REDIRECTS} times`);
}

function send(
  url: string,
  headers: Record<string, string>,
  stallMs: number,
  signal: AbortSignal | undefined,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const start = url.startsWith('https:') ? httpsRequest : httpRequest;
    const outgoing = start(url, {
      // Ranges count the bytes of what is sent: it must be the file itself.
      headers: { 'user-agent': 'anneal', 'accept-encoding': 'identity', ...headers },
      ...(signal === undefined ? {} : { signal }),
    });
    outgoing.setTimeout(stallMs, () => {
      outgoing.destroy(new ConnectionError(`no answer for ${stallMs / 1000} s`));
    });
    outgoing.on('response', resolve);
    outgoing.on('error', (error) => {
      reject(signal?.aborted ? error : connectionError(error));
    });
    outgoing.end();
  });
}

const QUEUE_BYTES = 1 << 20;

/**
 * The body as it comes in. What arrived before the connection broke is given before the error: a stream that is
 * destroyed forgets what it holds, and a server that cuts every answer short would never get anywhere.
 */
function bodyOf(message: IncomingMessage, stallMs: number): AsyncGenerator<Buffer> {
  const queue: Buffer[] = [];
  let queued = 0;
  let ended = false;
  let failure: Error | undefined;
  let wake = (): void => undefined;
  message.setTimeout(stallMs, () => {
    // A stall is the server's only while we wait for it.
    if (queued < QUEUE_BYTES) message.destroy(new ConnectionError(`no bytes for ${stallMs / 1000} s`));
  });
  message.on('data', (chunk: Buffer) => {
    queue.push(chunk);
    queued += chunk.length;
    if (queued >= QUEUE_BYTES) message.pause();
    wake();
  });
  message.on('error', (error) => {
    failure = connectionError(error);
    wake();
  });
  message.on('close', () => {
    ended = true;
    wake();
  });
  return (async function* () {
    for (;;) {
      const chunk = queue.shift();
      if (chunk !== undefined) {
        queued -= chunk.length;
        yield chunk;
        continue;
      }
      if (failure !== undefined) throw failure;
      if (ended && !message.complete) throw new ConnectionError('the connection was closed early');
      if (ended) return;
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      message.resume();
      await woken;
    }
  })();
}

function connectionError(error: unknown): Error {
  if (error instanceof ConnectionError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  return new ConnectionError(message || code || 'the connection failed', { cause: error });
}
