/** `anneal status`: what the daemon is doing. */
import { defineCommand } from '../command.ts';
import { formatBytes, formatDuration } from '../format.ts';

export default defineCommand({
  examples: [
    ['anneal status', 'devices, jobs, memory'],
    ['anneal status > /dev/null || anneal up', 'exit status 3: no daemon'],
    ["anneal status --json | jq '.jobs.running'", 'for a script'],
  ],
  async run({ out, connect }) {
    const client = await connect();
    const status = await client.call('status', {});
    out.value(status);
    const { paint } = out;
    const jobs = Object.entries(status.jobs).filter(([, count]) => count > 0);
    const facts: [string, string][] = [
      ['anneald', `${status.version}, process ${status.pid}, up ${formatDuration(status.uptime_seconds)}`],
      ['home', status.home],
      ['memory', `${formatBytes(status.memory_bytes)} (the daemon itself)`],
      ...status.devices.map(({ device, job }): [string, string] => [
        device,
        job === null ? 'free' : `runs ${job}`,
      ]),
      ...status.queue.map(({ job, name, text }): [string, string] => ['queue', `${job} (${name}) ${text}`]),
      ['jobs', jobs.length === 0 ? 'none' : jobs.map(([state, count]) => `${count} ${state}`).join(', ')],
    ];
    const width = Math.max(...facts.map(([name]) => name.length));
    for (const [name, text] of facts) out.line(`${paint(name.padEnd(width), 'dim')}  ${text}`);
    return undefined;
  },
});
