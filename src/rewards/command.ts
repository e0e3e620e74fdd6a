/**
 * `command`: any executable that speaks JSON lines. A line for each response goes to its standard input (an object
 * with prompt, messages, text, finish, fields); for each, in the same order, a line comes back on its standard
 * output: a number, null for no opinion, or an object with `score`. It is started once and asked batch after batch.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { checkedNumber, outward, skipAll } from './external.ts';
import { commonFields, defineReward, quoted, rewardName, Skips, timeoutField } from './reward.ts';
import type { Response, Scorer } from './scorer.ts';

const schema = z.strictObject({
  type: z.literal('command'),
  ...commonFields,
  command: z
    .union([
      z
        .string()
        .min(1)
        .transform((program) => [program]),
      z.array(z.string()).min(1),
    ])
    .describe('The program and its arguments; it runs in the folder of the recipe.'),
  timeout_seconds: timeoutField.default(60).describe('For one batch of responses.'),
});
type Settings = z.output<typeof schema>;

export const commandReward = defineReward({
  doc: 'Any executable that speaks JSON lines: an object with `prompt`, `messages`, `text`, `finish`, `fields` in; a number, null, or an object with `score` out, line for line.',
  schema,

  /** The words of the command that are files beside the recipe. */
  async files({ command }, baseDir) {
    const paths = command.map((word) => resolve(baseDir, word));
    const found = await Promise.all(
      paths.map((path) =>
        stat(path).then(
          (entry) => entry.isFile(),
          () => false,
        ),
      ),
    );
    return paths.filter((_, i) => found[i]);
  },

  async open(settings, baseDir) {
    return new CommandScorer(settings, baseDir);
  },
});

/** Why a batch could not be scored. */
interface Failure {
  reason: string;
  detail: string;
}

type Program = ChildProcessByStdio<Writable, Readable, Readable>;

const MAX_LINE = 1 << 20;
const STDERR_KEPT = 2_000;
/** How long a program may take to end after its input has. */
const END_MS = 2_000;

class CommandScorer implements Scorer {
  readonly name: string;
  readonly skipped: ReadonlyMap<string, number>;
  readonly #settings: Settings;
  readonly #baseDir: string;
  readonly #skips: Skips;
  #program: Program | undefined;
  #output = '';
  #errors = '';
  #failure: Failure | undefined;
  /** Wakes the batch that waits for lines. */
  #wake: () => void = () => {};

  constructor(settings: Settings, baseDir: string) {
    this.name = rewardName(settings);
    this.#settings = settings;
    this.#baseDir = baseDir;
    this.#skips = new Skips(settings);
    this.skipped = this.#skips.counts;
  }

  async score(responses: readonly Response[]): Promise<(number | null)[]> {
    if (responses.length === 0) return [];
    const lines = await this.#ask(responses.map((response) => JSON.stringify(outward(response))));
    if (Array.isArray(lines)) {
      return lines.map((line, i) => {
        const value = parse(line);
        if (value !== undefined) return checkedNumber(value, responses[i]!, this.#skips);
        return this.#skips.skip(
          'printed something that is not JSON',
          `: ${quoted(line)}`,
          'For each response one line: a number, null, or an object with score.',
        );
      });
    }
    await this.#kill();
    const hint = `Try it by hand: ${this.#settings.command.join(' ')} < responses.jsonl.`;
    return skipAll(responses, this.#skips, lines.reason, lines.detail, hint);
  }

  /**
   * Lets the program end by itself: its input ends, and what it still prints shows whether lines and responses went
   * together. One that stays is killed.
   */
  async close(): Promise<void> {
    const program = this.#program;
    if (!program) return;
    if (!this.#failure) {
      program.stdin.end();
      const deadline = new Promise<void>((late) => setTimeout(late, END_MS).unref());
      await Promise.race([new Promise((ended) => program.once('close', ended)), deadline]);
    }
    const more: string[] = [];
    this.#take(more);
    await this.#kill();
    if (more.length > 0) {
      throw new AnnealError(
        'reward_invalid',
        `The reward ${this.name} printed more lines than it got responses.`,
        {
          path: `rewards.${this.name}`,
          hint: 'Print one line for each response, in their order: with more, numbers belong to other responses.',
        },
      );
    }
  }

  async #kill(): Promise<void> {
    const program = this.#program;
    this.#program = undefined;
    if (program?.pid === undefined || program.exitCode !== null || program.signalCode !== null) return;
    const ended = new Promise((done) => program.once('exit', done));
    try {
      // With all that it has started.
      process.kill(-program.pid, 'SIGKILL');
    } catch {
      program.kill('SIGKILL');
    }
    await ended;
  }

  /** Sends lines and collects as many. */
  async #ask(lines: string[]): Promise<string[] | Failure> {
    if (!this.#program) this.#start();
    const program = this.#program!;
    const answers: string[] = [];
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, this.#settings.timeout_seconds * 1000);
    try {
      // What came unasked, after the last batch.
      this.#take(answers);
      if (answers.length > 0) return { reason: 'gave a wrong count', detail: ': more lines than responses' };
      program.stdin.write(`${lines.join('\n')}\n`);
      for (;;) {
        this.#take(answers);
        if (answers.length > lines.length)
          return { reason: 'gave a wrong count', detail: ': more lines than responses' };
        if (answers.length === lines.length) return answers;
        if (this.#failure) return this.#failure;
        if (this.#output.length > MAX_LINE)
          return { reason: 'printed a line without end', detail: `: ${quoted(this.#output)}` };
        if (late) {
          const got = `${answers.length} of ${lines.length} responses`;
          return {
            reason: `took more than ${this.#settings.timeout_seconds} s`,
            detail: ` and had answered ${got}`,
          };
        }
        await new Promise<void>((wake) => (this.#wake = wake));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Moves whole lines of the output to `answers`; empty ones do not count. */
  #take(answers: string[]): void {
    const end = this.#output.lastIndexOf('\n') + 1;
    for (const line of this.#output.slice(0, end).split('\n')) {
      if (line.trim() !== '') answers.push(line);
    }
    this.#output = this.#output.slice(end);
  }

  #start(): void {
    const [program = '', ...args] = this.#settings.command;
    // A group of its own, so that what it starts ends with it.
    const child = spawn(program, args, {
      cwd: this.#baseDir,
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    this.#program = child;
    this.#output = '';
    this.#errors = '';
    this.#failure = undefined;
    const fail = (reason: string, detail: string) => {
      if (this.#program !== child) return;
      this.#failure ??= { reason, detail };
      this.#wake();
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (this.#program !== child) return;
      this.#output += text;
      this.#wake();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-STDERR_KEPT);
    });
    child.stdin.on('error', () => {}); // It has ended: `close` says how.
    child.on('error', (error) => fail('could not be started', `: ${error.message}`));
    child.on('close', (code, signal) => {
      const said = this.#errors.trim().split('\n').slice(-3).join(' ');
      fail('ended', ` with ${signal ?? `status ${code}`}${said === '' ? '' : `: ${said}`}`);
    });
  }
}

/** The answer on a line; undefined for what is not JSON. */
function parse(line: string): unknown {
  try {
    const value: unknown = JSON.parse(line);
    return value !== null && typeof value === 'object' && 'score' in value ? value.score : value;
  } catch {
    // JSON has no words for these, and most languages print them so.
    return /^-?(nan|inf(inity)?)$/i.test(line.trim()) ? Number.NaN : undefined;
  }
}
