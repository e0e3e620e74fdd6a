/** The folder of the daemon's state: `$ANNEAL_HOME`, or `anneal` in the XDG state folder. */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

export function defaultHome(): string {
  const { ANNEAL_HOME, XDG_STATE_HOME } = process.env;
  if (ANNEAL_HOME) return resolve(ANNEAL_HOME);
  return join(XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'anneal');
}
