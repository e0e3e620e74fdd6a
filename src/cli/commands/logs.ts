/** `anneal logs`: the log lines of a job's worker, and its notices. */
import type { JobEvent } from '../../../proto/events.ts';
import { defineCommand } from '../command.ts';
import { eventsUntilSettled, withInterrupt } from '../events.ts';
import { formatTime } from '../format.ts';
import { exitStatus, type Output } from '../output.ts';
import { clean } from '../text.ts';

export default defineCommand<{ follow?: true }>({
  usage: '<job>',
  options: (command) => void command.option('-f, --follow', 'go on with lines as they come'),
  examples: [
    ['anneal logs j3', 'what the worker said'],
    ['anneal logs j3 --follow', 'until the job ends'],
    ['anneal logs j3 --json', 'the events as they are stored'],
  ],
  async run({ args, options, out, connect }) {
    const client = await connect();
    const { job } = await client.call('job.get', { job: args[0]! });
    if (options.follow) {
      return withInterrupt(async (signal) => {
        for await (const event of eventsUntilSettled(client, job, { signal })) printLog(event, out);
        return signal.aborted ? exitStatus.interrupted : exitStatus.ok;
      });
    }
    for (let since = 0; ; ) {
      const { events } = await client.call('job.events', {
        job: job.id,
        since,
        kinds: ['log', 'notice', 'state'],
      });
      const last = events.at(-1);
      if (last === undefined) return undefined;
      for (const event of events) printLog(event as JobEvent, out);
      since = last.seq;
    }
  },
});

function printLog(event: JobEvent, out: Output): void {
  if (event.kind !== 'log' && event.kind !== 'notice' && event.kind !== 'state') return;
  out.value(event);
  const { kind, body } = event;
  const level = kind === 'state' ? 'info' : body.level;
  const error = kind === 'state' && body.error ? `: ${body.error.message}` : '';
  const text = kind === 'state' ? `${body.state}${error}` : body.text;
  const style = level === 'error' ? 'red' : level === 'warning' ? 'yellow' : 'dim';
  out.line(`${formatTime(event.time)} ${out.paint(level.padEnd(7), style)} ${clean(text)}`);
}
