/** Runs the command line as a process of its own, from source. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Compiled code of the tests' own processes, away from the user's. */
export const cacheFolder = mkdtempSync(join(tmpdir(), 'anneal-cache-'));
afterAll(() => rmSync(cacheFolder, { recursive: true, force: true }));

export interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  home: string;
  input?: string;
  env?: Record<string, string>;
}

/** Starts `anneal` with the arguments; `done` has what it said and its exit status. */
export function startAnneal(args: string[], { home, input, env }: RunOptions) {
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, ANNEAL_HOME: home, XDG_CACHE_HOME: cacheFolder, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  if (input !== undefined) child.stdin.end(input);
  else child.stdin.end();
  const outcome: Outcome = { status: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => (outcome.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (outcome.stderr += text));
  const done = new Promise<Outcome>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve({ ...outcome, status }));
  });
  return { child, outcome, done };
}

/** Runs `anneal` to its end. */
export function anneal(args: string[], options: RunOptions): Promise<Outcome> {
  return startAnneal(args, options).done;
}
