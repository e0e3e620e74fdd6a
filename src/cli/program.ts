/**
 * Builds the command line from the registry and runs one command: loads its file, parses, connects when it asks,
 * reports its error, gives its exit status.
 */
import { resolve } from 'node:path';
import { Command, CommanderError } from 'commander';
import { AnnealError } from '../../proto/errors.ts';
import { annealHome } from '../../proto/home.ts';
import { ANNEAL_VERSION } from '../../proto/version.ts';
import type { Client } from '../client/client.ts';
import type { CommandContext, CommandSpec } from './command.ts';
import { exitStatus, openOutput, reportError } from './output.ts';
import { type CommandEntry, registry } from './registry.ts';

interface CommonOptions {
  json?: boolean;
  home?: string;
}

/** Runs a command line (without `node` and the script) and gives the exit status. */
export async function main(argv: string[]): Promise<number> {
  const json = wantsJson(argv);
  try {
    let status: number | undefined;
    const program = await buildProgram(argv, async (spec, command) => {
      status = await runCommand(spec, command);
    });
    await program.parseAsync(argv, { from: 'user' });
    return status ?? exitStatus.ok;
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportError(error, json);
    // Help and version are thrown too, after they were printed.
    if (error.exitCode === 0) return exitStatus.ok;
    if (error.code === 'commander.help') return exitStatus.usage;
    const [message = '', ...suggestion] = error.message.replace(/^error: /, '').split('\n');
    const command = requestedCommand(argv);
    const help = registry.some(({ name }) => name === command) ? `anneal ${command} --help` : 'anneal --help';
    const hint = suggestion.join(' ').replace(/^\(|\)$/g, '');
    reportError(
      new AnnealError('bad_request', message, { hint: `${hint ? `${hint} ` : ''}See: ${help}` }),
      json,
    );
    return exitStatus.usage;
  }
}

type Action = (spec: CommandSpec<never>, command: Command) => Promise<void>;

/** The program with every command named, and the one that is called (or, with `all`, each) loaded. */
export async function buildProgram(argv: string[], action: Action, all = false): Promise<Command> {
  const program = new Command('anneal')
    .description('Trains language models on this machine: from raw text to an aligned assistant.')
    .version(ANNEAL_VERSION, '--version', 'print the version')
    .helpOption('-h, --help', 'print help; `anneal COMMAND --help` has examples')
    .commandsGroup('More:')
    .helpCommand('help [command]', 'print help for a command')
    .showSuggestionAfterError()
    .addHelpText(
      'after',
      exampleText([
        ['anneal up', 'start the daemon'],
        ['anneal run recipe.yaml', 'train, and watch it'],
      ]),
    )
    .exitOverride()
    .configureOutput({ outputError: () => {} });
  const requested = requestedCommand(argv);
  for (const entry of registry) {
    const command = program.command(entry.name).summary(entry.summary).helpGroup(`${entry.group}:`);
    command.description(`${entry.summary.charAt(0).toUpperCase()}${entry.summary.slice(1)}.`);
    if (all || entry.name === requested) await configure(command, entry, action);
  }
  return program;
}

async function configure(command: Command, entry: CommandEntry, action: Action): Promise<void> {
  const { default: spec } = await entry.load();
  if (spec.usage) command.arguments(spec.usage);
  spec.options?.(command);
  command
    .option('--json', 'print JSON: one object, or one a line for streams')
    .option('--home <folder>', "folder of the daemon's state (default: $ANNEAL_HOME)")
    .helpOption('-h, --help', 'print this help')
    .addHelpText('after', exampleText(spec.examples))
    .action(() => action(spec, command));
}

function exampleText(examples: [line: string, what: string][]): string {
  const width = Math.max(...examples.map(([line]) => line.length));
  return `\nExamples:\n${examples.map(([line, what]) => `  $ ${line.padEnd(width)}   # ${what}`).join('\n')}\n`;
}

async function runCommand(spec: CommandSpec<never>, command: Command): Promise<number | undefined> {
  const options = command.opts<CommonOptions>();
  const target = options.home === undefined ? {} : { home: options.home };
  let client: Client | undefined;
  const context: CommandContext<unknown> = {
    args: command.args,
    options,
    out: openOutput(options.json === true),
    home: options.home === undefined ? annealHome() : resolve(options.home),
    target,
    connect: async (where = target) => {
      const { connect } = await import('../client/client.ts');
      client ??= await connect(where);
      return client;
    },
  };
  try {
    return await spec.run(context as CommandContext<never>);
  } finally {
    await client?.close();
  }
}

/** The first word that is no option; after `help` the second. */
function requestedCommand(argv: string[]): string | undefined {
  const words = argv.filter((word) => !word.startsWith('-'));
  return words[0] === 'help' ? words[1] : words[0];
}

function wantsJson(argv: string[]): boolean {
  const end = argv.indexOf('--');
  return argv.slice(0, end < 0 ? undefined : end).includes('--json');
}
