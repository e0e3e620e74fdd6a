/**
 * How long the command line takes to start and answer, as a person feels it: wall time of whole processes through
 * `bin/anneal`, alternating the commands. Run it after `npm run build:ts`: node bench/cli.ts [rounds]
 * Prints the median, the 95th percentile and the worst, in milliseconds; the goal is 150 for both.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const GOAL_MS = 150;
const rounds = Number(process.argv[2] ?? 40);
const anneal = fileURLToPath(new URL('../bin/anneal', import.meta.url));
const home = mkdtempSync(join(tmpdir(), 'anneal-bench-'));
const env = { ...process.env, ANNEAL_HOME: home };

function run(args: string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(anneal, args, { env, encoding: 'utf8' });
  if (status !== 0) throw new Error(`anneal ${args.join(' ')}: status ${status}\n${stderr}`);
  return performance.now() - start;
}

const commands = ['--version', 'status', 'jobs'];
const times = new Map<string, number[]>(commands.map((command) => [command, []]));
try {
  run(['up']);
  for (const command of commands) run([command]);
  for (let i = 0; i < rounds; i++) for (const command of commands) times.get(command)!.push(run([command]));
  run(['down']);
} finally {
  rmSync(home, { recursive: true, force: true });
}
for (const [command, values] of times) {
  values.sort((a, b) => a - b);
  const at = (share: number) =>
    values[Math.min(values.length - 1, Math.floor(values.length * share))]!.toFixed(0);
  const verdict = Number(at(0.5)) <= GOAL_MS ? 'within' : 'ABOVE';
  console.log(
    `anneal ${command.padEnd(9)}  median ${at(0.5)}  p95 ${at(0.95)}  worst ${at(1)} ms  (${verdict} ${GOAL_MS})`,
  );
}
