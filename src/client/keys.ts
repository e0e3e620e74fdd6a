/**
 * Makes and authorises CURVE keys, which clients and daemons on different machines know each other by. A client
 * needs its own pair (`keys/client.key`) and the daemon's public key (`keys/server.pub`); the daemon its own pair
 * (`keys/server.key`) and the public keys of its clients (`keys/authorized`). Secret files have mode 0600; whoever writes
 * one has made its folder.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { curveKeyPair } from 'zeromq';
import { AnnealError } from '../../proto/errors.ts';
import {
  type AuthorizedKey,
  formatKeyPair,
  isKey,
  type KeyPair,
  parseAuthorized,
  parseKeyPair,
} from '../../proto/keys.ts';

/** Paths of the key files of a keys folder. */
export function keyFiles(
  folder: string,
): Record<'server' | 'serverPublic' | 'client' | 'authorized', string> {
  return {
    server: join(folder, 'server.key'),
    serverPublic: join(folder, 'server.pub'),
    client: join(folder, 'client.key'),
    authorized: join(folder, 'authorized'),
  };
}

/** The key pair in a file, which is made when it is not there. */
export async function ensureKeyPair(path: string, remark: string): Promise<KeyPair> {
  try {
    return await readKeyPair(path);
  } catch (error) {
    if (!(error instanceof AnnealError && error.code === 'file_not_found')) throw error;
  }
  let pair: KeyPair;
  // People pass public keys on command lines, where a leading dash would make one an option.
  do pair = curveKeyPair();
  while (pair.publicKey.startsWith('-'));
  await writeSecret(path, formatKeyPair(pair, remark));
  return pair;
}

/** Reads a key pair file. */
export async function readKeyPair(path: string): Promise<KeyPair> {
  return parseKeyPair(await readKeyFile(path), path);
}

/** Reads a file that holds one public key. */
export async function readPublicKey(path: string): Promise<string> {
  const key = (await readKeyFile(path)).trim();
  if (!isKey(key)) throw new AnnealError('unauthorized', `${path} does not hold a public key.`, { path });
  return key;
}

/** The clients that may connect. */
export async function listAuthorized(folder: string): Promise<AuthorizedKey[]> {
  const path = keyFiles(folder).authorized;
  try {
    return parseAuthorized(await readFile(path, 'utf8'), path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Lets the client with this public key connect; a running daemon heeds it at once. */
export async function authorize(folder: string, publicKey: string, name: string): Promise<void> {
  if (!isKey(publicKey)) {
    throw new AnnealError('unauthorized', `'${publicKey}' is not a public key.`, {
      hint: 'It has 40 characters; `anneal keys` on the client prints it. Quote it for the shell.',
    });
  }
  const others = (await listAuthorized(folder)).filter((key) => key.publicKey !== publicKey);
  await writeAuthorized(folder, [...others, { publicKey, name }]);
}

/**
 * Takes the right to connect from a client, by its key or name; says whether there was one. A connection that it
 * has lasts until either side ends it.
 */
export async function revoke(folder: string, keyOrName: string): Promise<boolean> {
  const keys = await listAuthorized(folder);
  const kept = keys.filter((key) => key.publicKey !== keyOrName && key.name !== keyOrName);
  if (kept.length === keys.length) return false;
  await writeAuthorized(folder, kept);
  return true;
}

async function writeAuthorized(folder: string, keys: AuthorizedKey[]): Promise<void> {
  const lines = keys.map(({ publicKey, name }) => `${publicKey} ${name.replaceAll(/\s+/g, ' ')}`.trim());
  await writeSecret(
    keyFiles(folder).authorized,
    `# Clients that may connect over tcp://: public key and name\n${lines.map((line) => `${line}\n`).join('')}`,
  );
}

/** Atomic, and never readable for others, not even for a moment. */
async function writeSecret(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

async function readKeyFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new AnnealError(
      missing ? 'file_not_found' : 'unauthorized',
      `The key file ${path} cannot be read.`,
      {
        hint: 'Make keys with `anneal keys`; the public key of the server is in its keys/server.pub.',
        path,
        cause: error,
      },
    );
  }
}
