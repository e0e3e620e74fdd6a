/**
 * Runs the recipe on standard input over a fixture's folders: a worker without a daemon, for tests that kill it.
 * The keys of its events go to standard output.
 */
import { text } from 'node:stream/consumers';
import { runHere } from './fixture.ts';

const [dir, home] = process.argv.slice(2);
const channel = await runHere({ dir: dir!, home: home!, remove: () => {} }, await text(process.stdin), {
  during: (started) => {
    started.onMessage = (message) => {
      if (message.type === 'event' && message.key !== undefined) process.stdout.write(`${message.key}\n`);
    };
  },
});
const { outcome, error } = channel.outcome();
if (error) process.stderr.write(`${error.message}\n`);
process.exit(outcome === 'succeeded' ? 0 : 1);
