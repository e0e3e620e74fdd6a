/**
 * How fast a running daemon answers `status`: start a job that uses every core, then `node bench/status.ts [CALLS]`.
 * One JSON line: milliseconds at the median, the 99th percentile and the worst.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../src/client/client.ts';

const calls = Number(process.argv[2] ?? 1_000);
const client = await connect();
const times: number[] = [];
let running = 0;
for (let i = 0; i < calls; i++) {
  const started = performance.now();
  const { jobs } = await client.call('status', {});
  times.push(performance.now() - started);
  if (jobs.running) running++;
  await sleep(5);
}
await client.close();
times.sort((a, b) => a - b);
const at = (share: number) => Number(times[Math.min(calls - 1, Math.floor(share * calls))]!.toFixed(2));
console.log(
  JSON.stringify({
    calls,
    beside_a_job: `${Math.round((100 * running) / calls)}%`,
    median_ms: at(0.5),
    p99_ms: at(0.99),
    worst_ms: at(1),
  }),
);
