/** Run by disk-full.test.ts inside a small mount, which is its argument: fills the disk under a job and frees it. */
import { spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AnnealError } from '../../proto/errors.ts';
import { connect } from '../../src/client/client.ts';
import { tinyRecipe } from './recipe.ts';

const STEPS = 120;
const disk = process.argv[2]!;
const home = join(disk, 'home');
const ballast = join(disk, 'ballast');
mkdirSync(home);
const daemon = spawn(process.execPath, [join(import.meta.dirname, '../../src/daemon/main.ts')], {
  env: { ...process.env, ANNEAL_HOME: home },
  stdio: 'inherit',
});

async function connected(): Promise<Awaited<ReturnType<typeof connect>>> {
  for (;;) {
    try {
      return await connect({ home });
    } catch {
      await sleep(50);
    }
  }
}

/** Writes until nothing fits any more. */
function fill(): void {
  for (const size of [1 << 20, 1 << 12, 1]) {
    try {
      for (;;) appendFileSync(ballast, Buffer.alloc(size));
    } catch {
      // Full for pieces of this size.
    }
  }
}

const client = await connected();
const recipe = tinyRecipe(disk, { steps: STEPS, saveSteps: 1_000 });
const { job } = await client.call('job.submit', recipe);
for await (const event of client.follow(job.id)) {
  if (event.kind === 'progress' && event.body.stage === 'pretrain' && event.body.done >= 20) break;
}
fill();
console.log('the disk is full');
await sleep(1_500);
await client.call('status', {}, { timeoutMs: 1_000 });
console.log('status answers');
fill();
const refused = await client.call('job.submit', recipe).catch((error: unknown) => error);
console.log(
  `new jobs are refused: ${refused instanceof AnnealError ? refused.code : JSON.stringify(refused)}`,
);
rmSync(ballast);
const steps: number[] = [];
let state = '';
for await (const event of client.follow(job.id)) {
  if (event.kind === 'progress' && event.body.stage === 'pretrain') steps.push(event.body.done);
  if (event.kind !== 'state') continue;
  state = event.body.state;
  // A worker that met the full disk itself has said so; the job goes on when it is told to.
  if (state === 'failed' && event.body.error?.code === 'disk_full')
    await client.call('job.resume', { job: job.id });
  else if (state === 'succeeded' || state === 'failed') break;
}
const once = steps.length === STEPS && steps.every((step, index) => step === index + 1);
console.log(once ? `the job ${state} with every step once` : `${state}, steps: ${steps.join(' ')}`);
await client.close();
daemon.kill('SIGTERM');
