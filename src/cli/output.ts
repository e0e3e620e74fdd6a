/**
 * Where a command prints. With `--json` standard output carries JSON only: one object, or one a line for streams;
 * everything for people goes away. Errors go to standard error for people, and to standard output as JSON.
 */
import { type AnnealError, toAnnealError } from '../../proto/errors.ts';
import { clean, type Paint, painter, wantsColor } from './text.ts';

export interface Output {
  readonly json: boolean;
  /** Whether people read along on a terminal that can be drawn on. */
  readonly live: boolean;
  readonly color: boolean;
  readonly paint: Paint;
  /** Columns to use; 100 where standard output is no terminal. */
  width(): number;
  /** A line for people. */
  line(text?: string): void;
  /** A value for programs. */
  value(value: unknown): void;
  /** Text as it comes, without a line end. */
  raw(text: string): void;
}

/** Output to the process's standard output. */
export function openOutput(json: boolean, stdout: NodeJS.WriteStream = process.stdout): Output {
  const color = !json && wantsColor(stdout);
  return {
    json,
    live: !json && Boolean(stdout.isTTY) && process.env.TERM !== 'dumb',
    color,
    paint: painter(color),
    width: () => Math.max(20, stdout.columns ?? 100),
    line: (text = '') => {
      if (!json) stdout.write(`${text}\n`);
    },
    value: (value) => {
      if (json) stdout.write(`${JSON.stringify(value)}\n`);
    },
    raw: (text) => stdout.write(text),
  };
}

/** The lines of an error: what, where, how to mend it. */
export function errorLines(
  error: Pick<AnnealError, 'code' | 'message' | 'path' | 'hint'>,
  paint: Paint,
): string[] {
  const indent = '       ';
  const rest = (text: string) => clean(text).replaceAll('\n', `\n${indent}`);
  return [
    `${paint('error:', 'red', 'bold')} ${rest(error.message)} ${paint(`(${error.code})`, 'dim')}`,
    ...(error.path === undefined ? [] : [`${paint('   at:', 'dim')} ${rest(error.path)}`]),
    ...(error.hint === undefined ? [] : [`${paint('  fix:', 'green')} ${rest(error.hint)}`]),
  ];
}

/** Prints any thrown value and gives the exit status that goes with it. */
export function reportError(thrown: unknown, json: boolean): number {
  const error = toAnnealError(thrown);
  if (json) process.stdout.write(`${JSON.stringify({ error: error.toBody() })}\n`);
  else process.stderr.write(`${errorLines(error, painter(wantsColor(process.stderr))).join('\n')}\n`);
  if (error.code === 'internal' && process.env.ANNEAL_DEBUG) console.error(thrown);
  if (error.code === 'daemon_not_running') return exitStatus.noDaemon;
  return error.code === 'internal' ? exitStatus.fault : exitStatus.refused;
}

/** Exit statuses; docs/cli.md explains them. */
export const exitStatus = {
  ok: 0,
  /** The job failed, or what was asked is not so (a plan that does not fit). */
  failed: 1,
  usage: 2,
  noDaemon: 3,
  /** The daemon, or the command itself, refused: the error says why. */
  refused: 4,
  /** The job was paused or cancelled before its end. */
  unfinished: 5,
  /** A fault of the program. */
  fault: 70,
  /** Ctrl-C. */
  interrupted: 130,
} as const;
