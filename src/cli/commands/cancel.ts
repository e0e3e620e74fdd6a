/** `anneal cancel`: ends a job; its checkpoints stay. */
import { defineCommand } from '../command.ts';

export default defineCommand({
  usage: '<job>',
  examples: [
    ['anneal cancel j3', 'end it'],
    ['anneal cancel quickstart', 'by name: the newest job of that name'],
  ],
  async run({ args, out, connect }) {
    const client = await connect();
    const reply = await client.call('job.cancel', { job: args[0]! });
    out.value(reply);
    out.line(
      `${reply.job.id} ends; its checkpoints stay. Go on after all with: anneal resume ${reply.job.id}`,
    );
    return undefined;
  },
});
