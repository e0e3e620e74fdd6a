/** Runs a recipe in a process of its own that is killed at random moments, until it ends. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Fixture } from './fixture.ts';

/** Milliseconds from the first event of a process to the kill, at most. */
const LATEST = 600;
/** Attempts that are left alone after the kills; the first of them comes to the end. */
const SPARE = 3;

/** A kill that struck: the key of the last event before it, or `start`. */
export type Hit = string;

/** Kills up to `kills` times at moments drawn from `seed`; returns those that struck before the run was through. */
export async function runWithKills(
  fixture: Fixture,
  text: string,
  kills: number,
  seed: number,
): Promise<Hit[]> {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const hits: Hit[] = [];
  for (let attempt = 0; attempt < kills + SPARE; attempt++) {
    const delay = attempt < kills ? random() * LATEST : undefined;
    const { code, signal, lastKey } = await runOnce(fixture, text, delay);
    if (code === 0) return hits;
    if (signal !== 'SIGKILL') throw new Error(`the run ended with ${code}`);
    hits.push(lastKey);
  }
  throw new Error('the run never came to its end');
}

function runOnce(
  fixture: Fixture,
  text: string,
  killAfter: number | undefined,
): Promise<{ code: number | null; signal: NodeJS.Signals | null; lastKey: string }> {
  const program = join(import.meta.dirname, 'run_process.ts');
  const child = spawn(process.execPath, [program, fixture.dir, fixture.home], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(text);
  let lastKey = 'start';
  let timer: NodeJS.Timeout | undefined;
  child.stdout.on('data', (data: Buffer) => {
    // Counted from the first event: how long a process takes to start depends on the machine's load.
    if (killAfter !== undefined) timer ??= setTimeout(() => child.kill('SIGKILL'), killAfter);
    lastKey = data.toString().trimEnd().split('\n').at(-1)!;
  });
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, lastKey });
    });
  });
}
