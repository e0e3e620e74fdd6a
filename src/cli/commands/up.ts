/**
 * `anneal up`: starts the daemon apart from this terminal and waits until it answers. With `--foreground` this
 * process becomes the daemon, which is what a supervisor wants.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { CommandReply } from '../../../proto/commands.ts';
import { AnnealError, toAnnealError } from '../../../proto/errors.ts';
import { makeDir } from '../../util/files.ts';
import { type CommandContext, defineCommand } from '../command.ts';

const START_SECONDS = 30;

// The daemon beside this file, built or as source.
const daemonMain = fileURLToPath(new URL(`../../daemon/main${extname(import.meta.url)}`, import.meta.url));

interface Options {
  foreground?: true;
}

export default defineCommand<Options>({
  options: (command) => void command.option('--foreground', 'stay in this terminal, and log to it'),
  examples: [
    ['anneal up', 'start it, if it does not run yet'],
    ['anneal up --foreground', 'for a supervisor, or to read along'],
    ['ANNEAL_HOME=/data/anneal anneal up', 'keep its state on another disk'],
  ],
  async run(context) {
    const { options, out, home } = context;
    const env = { ...process.env, ANNEAL_HOME: home };
    if (options.foreground)
      process.execve?.(process.execPath, [process.execPath, daemonMain, '--foreground'], env);
    const running = await greet(context);
    const hello = running ?? (await start(context, env));
    out.value({ ...hello, home, started: running === undefined });
    const verb = running === undefined ? 'started' : 'runs already';
    out.line(`anneald ${hello.version} ${verb} (process ${hello.pid}, state in ${home})`);
    return undefined;
  },
});

/** The daemon's greeting; undefined if none answers. */
async function greet({ home, connect }: CommandContext<Options>): Promise<CommandReply<'hello'> | undefined> {
  try {
    const client = await connect({ home });
    return await client.call('hello', { client: 'anneal' });
  } catch (error) {
    if (toAnnealError(error).code === 'daemon_not_running') return undefined;
    throw error;
  }
}

async function start(
  context: CommandContext<Options>,
  env: NodeJS.ProcessEnv,
): Promise<CommandReply<'hello'>> {
  const { home } = context;
  // What the daemon says before its own log is open ends here; a pipe would break when this process ends.
  const path = join(home, 'logs', 'anneald.stderr');
  await makeDir(join(home, 'logs'), 0o700);
  const log = openSync(path, 'w', 0o600);
  const child = spawn(process.execPath, [daemonMain], {
    detached: true,
    stdio: ['ignore', log, log],
    env,
    cwd: '/',
  });
  closeSync(log);
  let ended: string | undefined;
  child.once('exit', (code, signal) => (ended = signal ?? `status ${code}`));
  child.once('error', (error) => (ended = error.message));
  for (const deadline = Date.now() + START_SECONDS * 1000; Date.now() < deadline; ) {
    const hello = await greet(context);
    if (hello !== undefined) {
      child.unref();
      return hello;
    }
    if (ended !== undefined) break;
    await sleep(30);
  }
  const said = readFileSync(path, 'utf8').trim().split('\n').slice(-12).join('\n');
  const what =
    ended === undefined ? `does not answer after ${START_SECONDS} seconds` : `ended at its start (${ended})`;
  throw new AnnealError('daemon_not_running', `anneald ${what}.${said && `\n${said}`}`, {
    hint: `Its log: ${join(home, 'logs', 'anneald.log')}. To read along: anneal up --foreground`,
    path,
  });
}
