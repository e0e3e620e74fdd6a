/** Where a daemon is, and whether anything is there at all: asked of the kernel, so that a client fails at once. */
import { connect } from 'node:net';
import { AnnealError } from '../../proto/errors.ts';
import { annealHome, homeLayout } from '../../proto/home.ts';

/** CURVE keys of a client, Z85. */
export interface ClientKeys {
  publicKey: string;
  secretKey: string;
  serverKey: string;
}

export interface ConnectOptions {
  /** Home of a daemon on this machine; default: `$ANNEAL_HOME`. */
  home?: string;
  /** `tcp://HOST:PORT` of a daemon elsewhere; default: `$ANNEAL_ADDRESS`, which `home` overrules. */
  address?: string;
  /** For `address`: keys of the client and of the server; default: those in the `keys` folder of the home. */
  keys?: ClientKeys;
}

export interface Target {
  address: string;
  keys: ClientKeys | undefined;
}

/** The address and keys that the options and the environment name. */
export async function resolveTarget(options: ConnectOptions): Promise<Target> {
  const layout = homeLayout(options.home ?? annealHome());
  const address = options.address ?? (options.home === undefined ? process.env.ANNEAL_ADDRESS : undefined);
  if (!address) return { address: `ipc://${layout.commandSocket}`, keys: undefined };
  if (!/^tcp:\/\/\S+:\d+$/.test(address)) {
    throw new AnnealError('bad_request', `'${address}' is not the address of a daemon.`, {
      hint: 'Write tcp://HOST:PORT, as the daemon was told with --listen.',
      path: 'address',
    });
  }
  return { address, keys: options.keys ?? (await keysOf(layout.keys)) };
}

async function keysOf(folder: string): Promise<ClientKeys> {
  // Only clients of other machines pay for loading this.
  const { keyFiles, readKeyPair, readPublicKey } = await import('./keys.ts');
  const files = keyFiles(folder);
  return { ...(await readKeyPair(files.client)), serverKey: await readPublicKey(files.serverPublic) };
}

/** Whether a program listens at the address. */
export function isListening(address: string): Promise<boolean> {
  const tcp = /^tcp:\/\/(.+):(\d+)$/.exec(address);
  const where = tcp
    ? { host: tcp[1]!.replace(/^\[|\]$/g, ''), port: Number(tcp[2]) }
    : { path: address.slice('ipc://'.length) };
  return new Promise((resolve) => {
    const socket = connect(where);
    const end = (listening: boolean): void => {
      socket.destroy();
      resolve(listening);
    };
    socket.setTimeout(3_000, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

/** The error for an address at which nothing listens. */
export function notRunning(address: string): AnnealError {
  const local = address.startsWith('ipc://');
  return new AnnealError('daemon_not_running', `No daemon listens at ${address}.`, {
    hint: local ? 'Start it: anneal up' : 'Start it there with --listen, and see that the port is open.',
    path: address,
  });
}
