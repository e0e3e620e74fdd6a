/**
 * A client of the daemon: typed calls, and the events of a job from any point on. Knows the protocol's types but not
 * its schemas, so that a command line loads in milliseconds.
 *
 * A request without an answer is sent again under the same id, which the daemon answers without doing it twice; so
 * calls outlast a restart of the daemon.
 */
import { randomUUID } from 'node:crypto';
import { Dealer } from 'zeromq';
import type { CommandInput, CommandName, CommandReply } from '../../proto/commands.ts';
import { AnnealError, type ErrorBody } from '../../proto/errors.ts';
import type { JobEvent } from '../../proto/events.ts';
import { ANNEAL_VERSION, PROTOCOL_VERSION } from '../../proto/version.ts';
import { decodeBody, encodeRequest, MAX_MESSAGE_BYTES } from '../../proto/wire.ts';
import { type ConnectOptions, isListening, notRunning, resolveTarget, type Target } from './address.ts';
import { followEvents } from './follow.ts';

export type { ClientKeys, ConnectOptions } from './address.ts';

export interface CallOptions {
  /** Give up (`no_reply`) after this long. */
  timeoutMs?: number;
  /** How long nobody may listen at the address before the call gives up (`daemon_not_running`). */
  patienceMs?: number;
  signal?: AbortSignal;
}

interface PendingCall {
  resolve(body: Record<string, unknown>): void;
  reject(error: unknown): void;
}

const TIMEOUT_MS = 30_000;
/** Commands that a worker answers, after it has loaded the engine and perhaps read the data. */
const SLOW: ReadonlySet<CommandName> = new Set<CommandName>([
  'job.submit',
  'job.plan',
  'doctor',
  'data.query',
]);
const SLOW_TIMEOUT_MS = 600_000;
const PATIENCE_MS = 3_000;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 8_000;

/** Connects and greets; fails at once (`daemon_not_running`) when nobody is there. */
export async function connect(options: ConnectOptions = {}): Promise<Client> {
  const target = await resolveTarget(options);
  if (!(await isListening(target.address))) throw notRunning(target.address);
  const client = new Client(target);
  try {
    await client.greet();
    return client;
  } catch (error) {
    await client.close();
    throw error;
  }
}

export class Client {
  readonly #target: Target;
  readonly #socket: Dealer;
  readonly #pending = new Map<string, PendingCall>();
  readonly #closing = new AbortController();
  #events = '';

  /** Use `connect`. */
  constructor(target: Target) {
    this.#target = target;
    this.#socket = new Dealer({
      linger: 0,
      maxMessageSize: MAX_MESSAGE_BYTES,
      reconnectInterval: 50,
      ...curve(target),
    });
    this.#socket.events.on('handshake:error:auth', () => this.#fail(refused(target)));
    this.#socket.connect(target.address);
    void this.#receive();
  }

  /** The handshake: protocol versions, and where the events are. */
  async greet(): Promise<CommandReply<'hello'>> {
    const hello = await this.call(
      'hello',
      { client: `anneal ${ANNEAL_VERSION}` },
      { timeoutMs: 10_000 },
    ).catch((error) => {
      const silent = error instanceof AnnealError && error.code === 'no_reply' && this.#target.keys;
      throw silent ? refused(this.#target) : error;
    });
    if (hello.protocol !== PROTOCOL_VERSION) throw versionMismatch(hello);
    const host = /^tcp:\/\/(.+):\d+$/.exec(this.#target.address)?.[1] ?? '';
    this.#events = hello.events.replace('tcp://*:', `tcp://${host}:`);
    return hello;
  }

  /** Sends a command and returns its reply, or throws the error that the daemon answers with. */
  async call<C extends CommandName>(
    command: C,
    input: CommandInput<C>,
    options: CallOptions = {},
  ): Promise<CommandReply<C>> {
    const requestId = randomUUID();
    const frames = encodeRequest(requestId, { command, ...input });
    const size = frames[2]!.length;
    if (size > MAX_MESSAGE_BYTES) {
      throw new AnnealError(
        'message_too_large',
        `${command} has ${size} bytes, more than the ${MAX_MESSAGE_BYTES} allowed.`,
        {
          hint: 'Put large texts into files and name those.',
        },
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>();
    this.#pending.set(requestId, { resolve, reject });
    const done = new AbortController();
    const signals = [done.signal, this.#closing.signal, ...(options.signal ? [options.signal] : [])];
    void this.#sendUntilAnswered(command, frames, options, AbortSignal.any(signals)).catch(reject);
    try {
      const { ok, error, ...reply } = await promise;
      if (ok !== true) throw AnnealError.fromBody(error as ErrorBody);
      return reply as CommandReply<C>;
    } finally {
      done.abort();
      this.#pending.delete(requestId);
    }
  }

  /**
   * The events of a job (id or name) after `since`, then those that come, without an end: leave the loop or abort the
   * signal. None is missed or given twice, whatever is killed meanwhile; a daemon that stays away ends it with
   * `daemon_not_running`.
   */
  async *follow(
    job: string,
    options: { since?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<JobEvent> {
    const { since = 0, signal } = options;
    const { job: found } = await this.call('job.get', { job }, signal ? { signal } : {});
    const signals = [this.#closing.signal, ...(signal ? [signal] : [])];
    yield* followEvents(this, this.#events, curve(this.#target), found.id, since, AbortSignal.any(signals));
  }

  async close(): Promise<void> {
    this.#closing.abort(new AnnealError('cancelled', 'The client was closed.'));
    this.#socket.close();
  }

  async #receive(): Promise<void> {
    for await (const [, requestId, body] of this.#socket) {
      const pending = requestId && this.#pending.get(requestId.toString());
      if (!pending || !body) continue;
      try {
        pending.resolve(decodeBody(body));
      } catch (error) {
        pending.reject(error);
      }
    }
  }

  /** Sends the request now, and again while there is no answer; rejects when it is time to give up. */
  async #sendUntilAnswered(
    command: CommandName,
    frames: Buffer[],
    options: CallOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const timeoutMs = options.timeoutMs ?? (SLOW.has(command) ? SLOW_TIMEOUT_MS : TIMEOUT_MS);
    const started = performance.now();
    let lastListening = started;
    await this.#socket.send(frames);
    for (let wait = FIRST_RETRY_MS; ; wait = Math.min(wait * 2, LAST_RETRY_MS)) {
      await pause(Math.min(wait, Math.max(started + timeoutMs - performance.now(), 0)), signal);
      const now = performance.now();
      if (await isListening(this.#target.address)) lastListening = now;
      else if (now - lastListening >= (options.patienceMs ?? PATIENCE_MS))
        throw notRunning(this.#target.address);
      else wait = FIRST_RETRY_MS / 2;
      if (now - started >= timeoutMs) {
        throw new AnnealError(
          'no_reply',
          `The daemon did not answer '${command}' within ${timeoutMs / 1000} s.`,
          {
            hint: 'See its log: logs/anneald.log in its home.',
          },
        );
      }
      await this.#socket.send(frames);
    }
  }

  #fail(error: AnnealError): void {
    for (const { reject } of this.#pending.values()) reject(error);
  }
}

/** Options of a socket that talks to this daemon. */
function curve({ keys }: Target): CurveOptions {
  if (!keys) return {};
  return { curvePublicKey: keys.publicKey, curveSecretKey: keys.secretKey, curveServerKey: keys.serverKey };
}

export interface CurveOptions {
  curvePublicKey?: string;
  curveSecretKey?: string;
  curveServerKey?: string;
}

/** Waits; throws the signal's reason when it fires. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

function refused({ address }: Target): AnnealError {
  return new AnnealError(
    'unauthorized',
    `The daemon at ${address} does not accept the keys of this client.`,
    {
      hint: 'Authorise the public key of this client there, and have the public key of that daemon in keys/server.pub here: `anneal keys`.',
      path: address,
    },
  );
}

function versionMismatch(hello: CommandReply<'hello'>): AnnealError {
  return new AnnealError(
    'version_mismatch',
    `This client speaks version ${PROTOCOL_VERSION} of the protocol, the daemon (anneald ${hello.version}) version ${hello.protocol}.`,
    {
      hint:
        hello.protocol < PROTOCOL_VERSION
          ? 'The daemon is older: upgrade it, then start it anew (`anneal down`, `anneal up`).'
          : 'The client is older: upgrade the client.',
    },
  );
}
