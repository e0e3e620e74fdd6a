/** `anneal rank` as a process whose keys a test presses one by one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { cacheFolder } from '../cli/process.ts';
import { atEnd, until } from '../daemon/harness.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

/** The words of `anneal rank`, from source. */
export const RANK = [process.execPath, '--disable-warning=ExperimentalWarning', MAIN, 'rank'];

export type Line = Record<string, unknown>;

export class RankProcess {
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  readonly done: Promise<number | null>;

  /** `command`: another program than `anneal rank` with the arguments. */
  constructor(home: string, args: string[], command = [...RANK, ...args]) {
    const [program = '', ...rest] = command;
    this.child = spawn(program, rest, {
      env: { ...process.env, ANNEAL_HOME: home, XDG_CACHE_HOME: cacheFolder, TERM: 'xterm', NO_COLOR: '1' },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.child.stdin!.on('error', () => {});
    this.done = new Promise((resolve) => this.child.once('close', resolve));
    atEnd(async () => {
      this.child.kill('SIGKILL');
      await this.done;
    });
  }

  press(keys: string): void {
    this.child.stdin!.write(keys);
  }

  /** Objects printed so far (with --json). */
  lines(): Line[] {
    return this.stdout
      .slice(0, this.stdout.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line);
  }

  /** Waits for the printed object with a number, or for the end; undefined if it ended before. */
  async line(number: number): Promise<Line | undefined> {
    let ended = false;
    void this.done.then(() => (ended = true));
    await until(() => ended || this.lines().length > number);
    return this.lines()[number];
  }
}
