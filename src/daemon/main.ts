/**
 * `anneald`: one daemon for one home. Exits with 0 after an orderly end, 1 when it cannot start or has failed.
 * SIGTERM and SIGINT let running steps end; a second one ends at once (workers checkpoint by themselves).
 */
import { parseArgs } from 'node:util';
import { toAnnealError } from '../../proto/errors.ts';
import { annealHome } from '../../proto/home.ts';
import { ANNEAL_VERSION } from '../../proto/version.ts';
import { Daemon } from './daemon.ts';

const HELP = `anneald: runs training jobs. People start it with \`anneal up\`.

  --foreground          log to this terminal as well
  --home FOLDER         state of the daemon (default: $ANNEAL_HOME)
  --listen tcp://H:P    serve other machines, too, by CURVE keys (default: $ANNEAL_LISTEN)
  --version, --help
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      foreground: { type: 'boolean', default: false },
      home: { type: 'string' },
      listen: { type: 'string' },
      version: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values.help || values.version) {
    process.stdout.write(values.help ? HELP : `anneald ${ANNEAL_VERSION}\n`);
    return;
  }
  const daemon = await Daemon.start({
    home: annealHome(values.home ? { ANNEAL_HOME: values.home } : process.env),
    listen: values.listen ?? (process.env.ANNEAL_LISTEN || undefined),
    foreground: values.foreground,
  });
  process.on('uncaughtException', (error) => {
    daemon.logFatal(error);
    process.exit(1);
  });
  let asked = false;
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (asked) process.exit(1);
      asked = true;
      void daemon.stop();
    });
  }
  await daemon.stopped;
}

try {
  await main();
  process.exit(0);
} catch (error) {
  const { code, message, hint } = toAnnealError(error);
  process.stderr.write(`anneald: ${message} [${code}]\n${hint ? `  ${hint}\n` : ''}`);
  process.exit(1);
}
