/** `anneal resume`: queues a job that was paused, failed or cancelled; it goes on from its last checkpoint. */
import { defineCommand } from '../command.ts';

export default defineCommand({
  usage: '<job>',
  examples: [
    ['anneal resume j3', 'go on from the last checkpoint'],
    ['anneal resume quickstart', 'by name: the newest job of that name'],
  ],
  async run({ args, out, connect }) {
    const client = await connect();
    const reply = await client.call('job.resume', { job: args[0]! });
    out.value(reply);
    out.line(`${reply.job.id} goes on from its last checkpoint. Watch it with: anneal watch ${reply.job.id}`);
    return undefined;
  },
});
