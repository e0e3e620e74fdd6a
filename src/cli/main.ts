/**
 * Entry of `anneal`. Turns on Node's cache of compiled code before anything else is loaded: with it the rest of the
 * start takes a few milliseconds. The cache is the user's own folder, never one that others can write.
 */
import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';

enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'anneal', 'compiled'));

// A reader that has seen enough (`anneal jobs | head -1`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const { main } = await import('./program.ts');
process.exitCode = await main(process.argv.slice(2));
