/** `anneal pause`: stops a job at its next microstep, after a checkpoint. */
import { defineCommand } from '../command.ts';

export default defineCommand({
  usage: '<job>',
  examples: [
    ['anneal pause j3', 'free the machine for something else'],
    ['anneal pause quickstart', 'by name: the newest job of that name'],
  ],
  async run({ args, out, connect }) {
    const client = await connect();
    const reply = await client.call('job.pause', { job: args[0]! });
    out.value(reply);
    out.line(
      `${reply.job.id} stops at its next microstep, after a checkpoint. Go on with: anneal resume ${reply.job.id}`,
    );
    return undefined;
  },
});
