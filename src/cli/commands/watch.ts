/** `anneal watch`: the live view of a job; of one that has ended, what it showed. */
import { AnnealError } from '../../../proto/errors.ts';
import { defineCommand } from '../command.ts';
import { integer } from '../recipe.ts';
import { watchJob } from '../view/watch.ts';

export default defineCommand<{ since: number }>({
  usage: '[job]',
  options: (command) => void command.option('--since <n>', 'only events with a higher number', integer(0), 0),
  examples: [
    ['anneal watch', 'the newest job'],
    ['anneal watch j3', 'a job by its id; a name works too'],
    ['anneal watch j3 --json --since 120', 'its events after number 120, then those that come'],
  ],
  async run({ args, options, out, connect }) {
    const client = await connect();
    let name = args[0];
    if (name === undefined) {
      const { jobs } = await client.call('job.list', { limit: 20 });
      name = jobs.find(({ kind }) => kind === 'recipe')?.id;
      if (name === undefined) {
        throw new AnnealError('job_not_found', 'There is no job yet.', {
          hint: 'Start one with: anneal run RECIPE',
        });
      }
    }
    const { job } = await client.call('job.get', { job: name });
    return watchJob(client, job, out, options.since);
  },
});
