/** `anneal jobs`: a table of jobs, newest first. */
import { Option } from 'commander';
import { type JobState, jobStates } from '../../../proto/states.ts';
import { defineCommand } from '../command.ts';
import { formatDuration, formatTime } from '../format.ts';
import { integer } from '../recipe.ts';
import { renderTable } from '../table.ts';

interface Options {
  state?: JobState[];
  limit: number;
}

export default defineCommand<Options>({
  options: (command) =>
    void command
      .addOption(new Option('--state <state...>', 'only jobs in these states').choices(jobStates))
      .option('-n, --limit <n>', 'at most so many', integer(1), 20),
  examples: [
    ['anneal jobs', 'the newest 20'],
    ['anneal jobs --state running queued', 'what is going on'],
    ["anneal jobs --json | jq -r '.jobs[].id'", 'for a script'],
  ],
  async run({ options, out, connect }) {
    const client = await connect();
    const { state, limit } = options;
    const reply = await client.call('job.list', { limit, ...(state && { states: state }) });
    out.value(reply);
    if (reply.jobs.length === 0) out.line('No jobs. Start one with: anneal run RECIPE');
    else {
      const now = Date.now() / 1000;
      const rows = reply.jobs.map((job) => [
        job.id,
        job.name,
        job.state,
        job.stage,
        job.device,
        formatTime(job.created_at),
        job.started_at === null ? '-' : formatDuration((job.finished_at ?? now) - job.started_at),
        job.waiting?.text ?? job.error?.message ?? '',
      ]);
      const heads = ['id', 'name', 'state', 'stage', 'device', 'created', 'took', ''];
      for (const line of renderTable(heads, rows, out.width(), out.paint)) out.line(line);
    }
    return undefined;
  },
});
