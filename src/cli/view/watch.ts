/**
 * Follows a job on the screen: feeds its events to the model and shows it as bars (terminal), lines (no terminal)
 * or JSON. The exit status is the job's outcome.
 */
import type { Job } from '../../../proto/commands.ts';
import { AnnealError, type ErrorBody } from '../../../proto/errors.ts';
import type { JobEvent } from '../../../proto/events.ts';
import type { Client } from '../../client/client.ts';
import { eventsUntilSettled, withInterrupt } from '../events.ts';
import { formatDuration } from '../format.ts';
import { errorLines, exitStatus, type Output } from '../output.ts';
import { renderBars, stateWord } from './bars.ts';
import { renderBlock } from './blocks.ts';
import { speaks } from './metrics.ts';
import { emptyView, type JobView, reduce, settledStates } from './model.ts';
import { createPlainRenderer } from './plain.ts';
import { openScreen } from './screen.ts';

/** What to do with each event, and at the end. */
interface Show {
  event(view: JobView, event: JobEvent): void;
  close(): void;
}

/**
 * Shows the events of a job above `since` until it has settled or Ctrl-C is pressed; the job goes on then. Earlier
 * events still enter the model: bars need to know how the stages began.
 */
export async function watchJob(client: Client, job: Job, out: Output, since = 0): Promise<number> {
  let view = emptyView(job.id, job.name);
  const show = out.json ? showJson(out) : out.live ? showLive(out, () => view) : showPlain(out);
  const interrupted = await withInterrupt(async (signal) => {
    try {
      for await (const event of eventsUntilSettled(client, job, { since: out.json ? since : 0, signal })) {
        view = reduce(view, event);
        if (event.seq > since) show.event(view, event);
      }
    } finally {
      show.close();
    }
    return signal.aborted;
  });
  if (interrupted) {
    out.line(
      `${job.id} goes on. Watch it again with: anneal watch ${job.id}; end it with: anneal cancel ${job.id}`,
    );
    return exitStatus.interrupted;
  }
  // Nothing came after `since`: the job itself says how it ended.
  const { state, error } = view.time === 0 ? { state: job.state, error: job.error } : view;
  for (const line of outcomeLines(view, job, state, error, out)) out.line(line);
  return settledStates[state] ?? exitStatus.ok;
}

function showJson(out: Output): Show {
  return { event: (_, event) => out.value(event), close: () => {} };
}

function showPlain(out: Output): Show {
  const render = createPlainRenderer({ width: out.width(), paint: out.paint, color: out.color });
  return {
    event: (view, event) => {
      for (const line of render(view, event)) out.line(line);
    },
    close: () => {},
  };
}

function showLive(out: Output, current: () => JobView): Show {
  const { paint, color } = out;
  // A column stays free: some terminals wrap when the last one is filled.
  const screen = openScreen(process.stdout, (width, height) =>
    renderBars(current(), { width: width - 1, height: height - 1, paint, now: Date.now() / 1000 }),
  );
  const clock = setInterval(() => screen.refresh(), 1000);
  screen.refresh();
  return {
    event: (_, event) => {
      screen.print(renderBlock(event, { width: out.width() - 1, paint, color }));
    },
    close: () => {
      clearInterval(clock);
      screen.close();
    },
  };
}

function outcomeLines(
  view: JobView,
  { selftest }: Job,
  state: string,
  error: JobView['error'],
  out: Output,
): string[] {
  if (state === 'failed' && error !== null) {
    return errorLines(AnnealError.fromBody(error as ErrorBody), out.paint);
  }
  if (state === 'paused') return [`paused. Go on with: anneal resume ${view.id}`];
  if (state === 'cancelled') return [`cancelled. Its checkpoints stay; go on with: anneal resume ${view.id}`];
  const took = view.startedAt === null ? '' : ` in ${formatDuration(view.time - view.startedAt)}`;
  const model = view.stages.findLast(({ type, artifact }) => artifact !== null && speaks(type));
  const next =
    selftest || model === undefined ? '' : `. Talk to it with: anneal chat ${view.name}/${model.name}`;
  return [`${stateWord(state, out.paint)}${took}${next}`];
}
