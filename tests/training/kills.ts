/** Runs of a recipe that are disturbed: killed at random moments, or stopped at every microstep, until they end. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { type Fixture, runHere } from './fixture.ts';

/** Attempts that are left alone after the kills; the first of them comes to the end. */
const SPARE = 3;

/** A kill that struck: the key of the last event before it, or `start`. */
export type Hit = string;

/**
 * Kills up to `kills` times, each at a moment drawn from `seed` between the first event of the process and `latest`
 * milliseconds after it; returns those that struck before the run was through.
 */
export async function runWithKills(
  fixture: Fixture,
  text: string,
  kills: number,
  latest: number,
  seed: number,
): Promise<Hit[]> {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const hits: Hit[] = [];
  for (let attempt = 0; attempt < kills + SPARE; attempt++) {
    const delay = attempt < kills ? random() * latest : undefined;
    const { code, signal, lastKey } = await runOnce(fixture, text, delay);
    if (code === 0) return hits;
    if (signal !== 'SIGKILL') throw new Error(`the run ended with ${code}`);
    hits.push(lastKey);
  }
  throw new Error('the run never came to its end');
}

/** Milliseconds from the first event of a process that is left alone to its end. */
export async function undisturbedDuration(fixture: Fixture, text: string): Promise<number> {
  const { milliseconds } = await runOnce(fixture, text, undefined);
  return milliseconds;
}

/**
 * Runs in this process, asked to stop after a microbatch again and again; returns the attempts that it took and the
 * keys of all events. `calls` of the engine lead from the audit to the end of the first microbatch.
 */
export async function runWithStops(
  fixture: Fixture,
  text: string,
  calls = 5,
): Promise<{ attempts: number; keys: ReadonlySet<string> }> {
  const keys = new Set<string>();
  for (let attempts = 1; attempts <= 300; attempts++) {
    const channel = await runHere(fixture, text, {
      during: (started) => {
        // Behind the audit come the session, its weights, and one or two calls for the last checkpoint or the first
        // snapshot; the fifth call is a microbatch. Now and then the stop comes a little later: a validation that
        // is stopped begins anew, and must once come to its end.
        const last = calls + (attempts % 4 === 0 ? 4 : 0);
        let done = 0;
        started.onMessage = (message) => {
          if (message.type === 'event' && message.kind === 'audit') done = 0;
        };
        started.onCall = () => {
          done += 1;
          if (done === last) started.stop();
        };
      },
    });
    for (const message of channel.sent) {
      if (message.type === 'event' && message.key !== undefined) keys.add(message.key);
    }
    const { outcome, error } = channel.outcome();
    if (outcome === 'succeeded') return { attempts, keys };
    if (error) throw new Error(error.message);
  }
  throw new Error('the run never came to its end');
}

function runOnce(
  fixture: Fixture,
  text: string,
  killAfter: number | undefined,
): Promise<{ code: number | null; signal: NodeJS.Signals | null; lastKey: string; milliseconds: number }> {
  const program = join(import.meta.dirname, 'run_process.ts');
  const child = spawn(process.execPath, [program, fixture.dir, fixture.home], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(text);
  let lastKey = 'start';
  let timer: NodeJS.Timeout | undefined;
  let firstEvent: number | undefined;
  child.stdout.on('data', (data: Buffer) => {
    // Counted from the first event: how long a process takes to start depends on the machine's load.
    if (killAfter !== undefined) timer ??= setTimeout(() => child.kill('SIGKILL'), killAfter);
    firstEvent ??= performance.now();
    lastKey = data.toString().trimEnd().split('\n').at(-1)!;
  });
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, lastKey, milliseconds: performance.now() - (firstEvent ?? 0) });
    });
  });
}
