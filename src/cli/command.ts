/**
 * What a command of the command line is. One file of `commands/` exports one `defineCommand(...)`; `registry.ts`
 * names them. A command parses, calls the daemon and prints; it returns its exit status (nothing: 0).
 */
import type { Command } from 'commander';
import type { Client, ConnectOptions } from '../client/client.ts';
import type { Output } from './output.ts';

/** What a running command has at hand. */
export interface CommandContext<Options> {
  args: string[];
  options: Options;
  out: Output;
  /** Folder of the daemon's state. */
  home: string;
  /** The daemon that the options and the environment name. */
  target: ConnectOptions;
  /** Connects to the daemon (or the one of `where`); closed when the command ends. */
  connect(where?: ConnectOptions): Promise<Client>;
}

export interface CommandSpec<Options> {
  /** Positional arguments in commander's notation. Their names tell completion what to offer (see complete.ts). */
  usage?: string;
  /** Adds the command's own options; `--json` and `--home` are everywhere. */
  options?(command: Command): void;
  /** Command lines with what they do, for `--help`. */
  examples: [line: string, what: string][];
  // A method, so that a list can hold commands of different options.
  run(context: CommandContext<Options>): Promise<number | undefined>;
}

/** A command, typed by its options. */
export function defineCommand<Options = object>(spec: CommandSpec<Options>): CommandSpec<Options> {
  return spec;
}
