/**
 * Entry of a worker process: takes one task from the daemon over IPC, says every second that it lives, runs the
 * task and exits. What the tasks do stands in `job.ts`, `plan.ts`, `doctor.ts`, `data.ts` and `serve.ts`, imported when needed.
 */
import { writeFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { toAnnealError } from '../../proto/errors.ts';
import type { WorkerTask } from '../../proto/worker.ts';
import { IpcChannel, type WorkerChannel } from './channel.ts';

const HEARTBEAT_MS = 1_000;
/** Niceness of a worker: 0 is that of an ordinary program, 19 the lowest claim. */
const NICE = 10;

async function run(task: WorkerTask, channel: WorkerChannel): Promise<void> {
  switch (task.task) {
    case 'recipe':
      return (await import('./job.ts')).runRecipe(task, channel);
    case 'plan':
      return (await import('./plan.ts')).runPlan(task, channel);
    case 'doctor':
      return (await import('./doctor.ts')).runDoctor(task, channel);
    case 'data':
      return (await import('./data.ts')).runData(task, channel);
    case 'serve':
      return (await import('./serve.ts')).runServe(task, channel);
  }
}

/** The daemon and the user's own programs come first; and when memory runs out, the kernel shall take a worker. */
function yieldToOthers(): void {
  // Started under `nice`, it may be lower already, and then must not be raised.
  if (getPriority() < NICE) setPriority(NICE);
  try {
    writeFileSync('/proc/self/oom_score_adj', '500');
  } catch {
    // Not Linux, or not allowed: the kernel chooses as it always does.
  }
}

async function main(): Promise<void> {
  if (!process.send) {
    process.stderr.write('This program is started by anneald; run `anneal up`.\n');
    process.exit(2);
  }
  yieldToOthers();
  const channel = new IpcChannel();
  const task = await channel.task();
  setInterval(() => channel.heartbeat(), HEARTBEAT_MS).unref();
  channel.send({ type: 'ready' });
  try {
    await run(task, channel);
  } catch (error) {
    // A runner reports the errors of its job itself; this one is of the runner, so the stack goes to the log.
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    channel.send({ type: 'done', outcome: 'failed', error: toAnnealError(error).toBody() });
  }
  await channel.flush();
  process.exit(0);
}

await main();
