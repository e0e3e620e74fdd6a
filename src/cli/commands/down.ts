/** `anneal down`: stops the daemon and waits until it is gone. */
import { setTimeout as sleep } from 'node:timers/promises';
import { AnnealError } from '../../../proto/errors.ts';
import { isListening, resolveTarget } from '../../client/address.ts';
import { isAlive } from '../../util/processes.ts';
import { defineCommand } from '../command.ts';
import { integer } from '../recipe.ts';

export default defineCommand<{ timeout: number }>({
  options: (command) =>
    void command.option('--timeout <seconds>', 'how long to wait for running steps to end', integer(1), 120),
  examples: [
    ['anneal down', 'running jobs checkpoint, and go on at the next start'],
    ['anneal down && anneal up', 'after an upgrade'],
  ],
  async run({ options, out, target, connect }) {
    const client = await connect();
    const { pid } = await client.call('hello', { client: 'anneal' });
    await client.call('shutdown', {});
    const { address } = await resolveTarget(target);
    // On this machine the process itself must be gone: only then is the home free for the next daemon.
    const isUp = address.startsWith('ipc:') ? async () => isAlive(pid) : () => isListening(address);
    for (const deadline = Date.now() + options.timeout * 1000; await isUp(); await sleep(30)) {
      if (Date.now() < deadline) continue;
      throw new AnnealError(
        'shutting_down',
        `anneald (process ${pid}) is still ending after ${options.timeout} s.`,
        {
          hint: 'A long step may be running: wait for it, or see why with: anneal status',
        },
      );
    }
    out.value({ stopped: true, pid });
    out.line(`anneald stopped (process ${pid})`);
    return undefined;
  },
});
