/**
 * The command socket: frames in, frames out. Every request gets exactly one reply; what is not a request gets a
 * typed error, or silence where there is nobody to answer.
 *
 * A request that is sent again (same id, same body) while the first is being worked on gets the same reply; when
 * the first has been done, commands that change something find its outcome in the store.
 */
import { createHash } from 'node:crypto';
import type { Router } from 'zeromq';
import type { CommandName } from '../../proto/commands.ts';
import { AnnealError, toAnnealError } from '../../proto/errors.ts';
import { PROTOCOL_VERSION } from '../../proto/version.ts';
import {
  decodeBody,
  encodeError,
  encodeReply,
  MAX_MESSAGE_BYTES,
  MAX_REQUEST_ID_BYTES,
} from '../../proto/wire.ts';
import type { RequestContext } from './handlers/handler.ts';
import type { Log } from './log.ts';
import { parseRequest } from './validate.ts';

export type Dispatch = (
  command: CommandName,
  request: unknown,
  context: RequestContext,
) => Promise<Record<string, unknown>>;

export class CommandServer {
  readonly #dispatch: Dispatch;
  readonly #log: Log;
  /** Requests under way by id and digest. */
  readonly #pending = new Map<string, Promise<Record<string, unknown>>>();

  constructor(dispatch: Dispatch, log: Log) {
    this.#dispatch = dispatch;
    this.#log = log;
  }

  /** Answers on this socket until it is closed; `events` is the address of the event socket that goes with it. */
  async serve(socket: Router, events: string): Promise<void> {
    for await (const [peer, ...frames] of socket) {
      if (!peer) continue;
      void this.#answer(frames, events).then((reply) => {
        // A peer that has gone, or does not read, loses its reply: ROUTER drops it and never waits.
        socket
          .send([peer, ...reply])
          .catch((error: unknown) => this.#log.debug({ err: error }, 'a reply was not sent'));
      });
    }
  }

  async #answer(frames: Buffer[], events: string): Promise<Buffer[]> {
    const requestId = (frames.length === 3 && frames[1]) || Buffer.alloc(0);
    try {
      const reply = encodeReply(requestId, await this.#reply(frames, events));
      const size = reply[2]!.length;
      if (size <= MAX_MESSAGE_BYTES) return reply;
      throw new AnnealError(
        'message_too_large',
        `The reply has ${size} bytes, more than the ${MAX_MESSAGE_BYTES} allowed.`,
        {
          hint: 'Ask for less at once: `limit`.',
        },
      );
    } catch (error) {
      const typed = toAnnealError(error);
      if (typed.code === 'internal') this.#log.error({ err: error }, 'a command failed');
      return encodeError(requestId.subarray(0, MAX_REQUEST_ID_BYTES), typed.toBody());
    }
  }

  async #reply(frames: Buffer[], events: string): Promise<Record<string, unknown>> {
    const [version, requestId, bytes] = frames;
    if (frames.length !== 3 || !version || !requestId || !bytes) {
      throw badFrame(
        `A request has 3 frames, not ${frames.length}`,
        'Send [version, request id, body] from a DEALER socket.',
      );
    }
    if (requestId.length === 0 || requestId.length > MAX_REQUEST_ID_BYTES) {
      throw badFrame(
        `A request id has 1 to ${MAX_REQUEST_ID_BYTES} bytes, not ${requestId.length}`,
        'Use a UUID.',
      );
    }
    if (!/^\d{1,9}$/.test(version.toString('latin1'))) {
      throw badFrame(
        'The first frame is not a protocol version',
        `Send '${PROTOCOL_VERSION}' in decimal digits.`,
      );
    }
    const body = decodeBody(bytes);
    const theirs = Number(version.toString('latin1'));
    if (theirs !== PROTOCOL_VERSION && body.command !== 'hello') throw versionMismatch(theirs);
    const { command, request } = parseRequest(body);
    const digest = createHash('sha256').update(bytes).digest('hex');
    const id = requestId.toString('hex');
    const key = `${id} ${digest}`;
    let pending = this.#pending.get(key);
    if (!pending) {
      pending = this.#dispatch(command, request, { requestId: id, digest, events }).finally(() =>
        this.#pending.delete(key),
      );
      this.#pending.set(key, pending);
    }
    return pending;
  }
}

function badFrame(message: string, hint: string): AnnealError {
  return new AnnealError('bad_frame', `${message}.`, { hint });
}

function versionMismatch(theirs: number): AnnealError {
  const older = theirs < PROTOCOL_VERSION;
  return new AnnealError(
    'version_mismatch',
    `The client speaks version ${theirs} of the protocol, the daemon version ${PROTOCOL_VERSION}.`,
    {
      hint: older
        ? 'The client is older: upgrade the client.'
        : 'The daemon is older: upgrade it, then start it anew (`anneal down`, `anneal up`).',
    },
  );
}
