/**
 * The daemon's sockets: commands and events on ipc:// (mode 0600, this user only), and on tcp:// if asked for, there
 * only for clients whose CURVE key is authorised. Events over tcp are on the port after that of the commands.
 */
import { chmodSync, lstatSync } from 'node:fs';
import { connect } from 'node:net';
import { Publisher, Router, type Socket } from 'zeromq';
import { AnnealError } from '../../proto/errors.ts';
import type { HomeLayout } from '../../proto/home.ts';
import { MAX_MESSAGE_BYTES } from '../../proto/wire.ts';
import type { Gatekeeper } from './curve.ts';
import { type EventPublisher, SUBSCRIBER_QUEUE } from './publisher.ts';
import type { CommandServer } from './router.ts';

/** How long the last messages may take to leave when the daemon goes down, milliseconds. */
const LINGER_MS = 500;
/** sockaddr_un has 108 bytes, the last one zero. */
const MAX_SOCKET_PATH = 107;

export class Sockets {
  readonly #commands: CommandServer;
  readonly #publisher: EventPublisher;
  readonly #open: Socket[] = [];

  constructor(commands: CommandServer, publisher: EventPublisher) {
    this.#commands = commands;
    this.#publisher = publisher;
  }

  /** Opens the sockets of this machine. */
  async listenLocal(home: HomeLayout): Promise<void> {
    for (const path of [home.commandSocket, home.eventSocket]) await refuseTakenPath(path);
    await this.#listen(`ipc://${home.commandSocket}`, `ipc://${home.eventSocket}`, undefined);
    for (const path of [home.commandSocket, home.eventSocket]) chmodSync(path, 0o600);
  }

  /** Opens the sockets for other machines, guarded. */
  async listenRemote(address: string, gatekeeper: Gatekeeper): Promise<void> {
    const { commands, events } = tcpAddresses(address);
    const port = events.slice(events.lastIndexOf(':') + 1);
    await this.#listen(commands, events, gatekeeper, `tcp://*:${port}`);
  }

  close(): void {
    for (const socket of this.#open) socket.close();
  }

  async #listen(
    commands: string,
    events: string,
    gatekeeper: Gatekeeper | undefined,
    told = events,
  ): Promise<void> {
    const router = new Router({ maxMessageSize: MAX_MESSAGE_BYTES, linger: LINGER_MS });
    const publisher = new Publisher({
      maxMessageSize: MAX_MESSAGE_BYTES,
      sendHighWaterMark: SUBSCRIBER_QUEUE,
      linger: LINGER_MS,
    });
    for (const [socket, address] of [
      [publisher, events],
      [router, commands],
    ] as const) {
      await gatekeeper?.guard(socket);
      await bind(socket, address);
      this.#open.push(socket);
    }
    this.#publisher.add(publisher);
    void this.#commands.serve(router, told);
  }
}

async function bind(socket: Socket, address: string): Promise<void> {
  try {
    await socket.bind(address);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') throw inUse(address);
    throw new AnnealError('socket_in_use', `${address} cannot be listened on: ${message}.`, {
      hint: 'Give an address of this machine, such as tcp://0.0.0.0:7461.',
      path: address,
      cause: error,
    });
  }
}

/** libzmq would take over a Unix socket that another program listens on. A dead one is in nobody's way. */
async function refuseTakenPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    throw new AnnealError(
      'home_unusable',
      `${path} is longer than the ${MAX_SOCKET_PATH} bytes that a socket may have.`,
      {
        hint: 'Set ANNEAL_HOME to a folder with a shorter path; it may be a symbolic link.',
        path,
      },
    );
  }
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat && (!stat.isSocket() || (await answers(path)))) throw inUse(path);
}

/** Whether a program listens on a Unix socket. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function inUse(address: string): AnnealError {
  return new AnnealError('socket_in_use', `Something else is at ${address}.`, {
    hint: 'Stop that program, remove the file if it is not a socket, or choose another ANNEAL_HOME or port.',
    path: address,
  });
}

/** `tcp://HOST:PORT` as the two addresses that the daemon binds. */
function tcpAddresses(address: string): { commands: string; events: string } {
  const [, host, port] = /^tcp:\/\/(\S+):(\d+)$/.exec(address) ?? [];
  if (!host || !port || Number(port) < 1 || Number(port) > 65_534) {
    throw new AnnealError('bad_request', `'${address}' is not an address to listen on.`, {
      hint: 'Write tcp://HOST:PORT, for instance tcp://0.0.0.0:7461; events use the next port.',
      path: 'listen',
    });
  }
  return { commands: address, events: `tcp://${host}:${Number(port) + 1}` };
}
