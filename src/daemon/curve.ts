/**
 * Who may connect over tcp://. CURVE proves that both sides have their secret keys and encrypts all; libzmq then
 * asks us (ZAP, ZeroMQ RFC 27, on inproc://zeromq.zap.01) whether the client's public key is a known one. Until it
 * is, nothing that the client sends reaches the daemon. The list of known keys is read at each question, so that
 * `anneal keys` takes effect at once.
 */
import { Router, type Socket } from 'zeromq';
import { z85Encode } from '../../proto/keys.ts';
import { ensureKeyPair, keyFiles, listAuthorized } from '../client/keys.ts';
import { makeDir, writeFileAtomic } from '../util/files.ts';
import type { Log } from './log.ts';

const ZAP_ADDRESS = 'inproc://zeromq.zap.01';
/** libzmq asks the ZAP handler only on sockets with a domain. */
const DOMAIN = 'anneal';
/** A connection that does not prove its key within this time is closed, milliseconds. */
const HANDSHAKE_MS = 5_000;
/** Connections that the kernel holds while libzmq has not accepted them: a crowd must not turn others away. */
const BACKLOG = 4_096;

/** Answers libzmq's questions about client keys until it is closed. */
export class Gatekeeper {
  readonly #keys: string;
  readonly #log: Log;
  readonly #socket = new Router({ linger: 0 });

  constructor(keys: string, log: Log) {
    this.#keys = keys;
    this.#log = log;
  }

  /** Must be up before a socket that asks it is bound. */
  async start(): Promise<void> {
    await this.#socket.bind(ZAP_ADDRESS);
    void this.#serve();
  }

  /** Makes a socket one that only authorised clients get through to. Call before bind. */
  async guard(socket: Socket & CurveOptions): Promise<void> {
    const files = keyFiles(this.#keys);
    await makeDir(this.#keys, 0o700);
    const pair = await ensureKeyPair(files.server, 'CURVE key pair of this anneald: keep it secret');
    await writeFileAtomic(files.serverPublic, `${pair.publicKey}\n`);
    socket.curveServer = true;
    socket.curveSecretKey = pair.secretKey;
    socket.zapDomain = DOMAIN;
    socket.handshakeInterval = HANDSHAKE_MS;
    socket.backlog = BACKLOG;
  }

  close(): void {
    this.#socket.close();
  }

  async #serve(): Promise<void> {
    for await (const frames of this.#socket) {
      const [peer, empty, version, request, domain, address, , mechanism, key] = frames;
      if (!peer || !empty || !version || !request) continue;
      const name =
        mechanism?.toString() === 'CURVE' && domain?.toString() === DOMAIN && key?.length === 32
          ? await this.#nameOf(z85Encode(key))
          : undefined;
      if (name === undefined)
        this.#log.warn({ address: address?.toString() }, 'a client without a known key was refused');
      const [status, text] = name === undefined ? ['400', 'unknown key'] : ['200', 'OK'];
      await this.#socket.send([peer, empty, version, request, status, text, name ?? '', '']);
    }
  }

  async #nameOf(publicKey: string): Promise<string | undefined> {
    try {
      return (await listAuthorized(this.#keys)).find((known) => known.publicKey === publicKey)?.name;
    } catch (error) {
      this.#log.error({ err: error }, 'the list of authorised keys cannot be read: nobody is let in');
      return undefined;
    }
  }
}

/** The options of Router and Publisher that matter here. */
interface CurveOptions {
  curveServer: boolean;
  curveSecretKey: string | null;
  zapDomain: string | null;
  handshakeInterval: number;
  backlog: number;
}
