/**
 * A labeller at work: task after task is fetched, shown, ranked by keys and sent; the next one is shown when the
 * daemon has made the label durable.
 */
import type { CommandReply } from '../../../proto/commands.ts';
import type { Client } from '../../client/client.ts';
import type { Output } from '../output.ts';
import type { Keys } from './keys.ts';
import { helpLines, promptLine, rankingText, taskPage } from './page.ts';
import { type Outcome, Picker } from './picker.ts';

export interface Selection {
  dataset: string;
  /** How its rows are read. */
  settings?: Record<string, unknown>;
  labeller: string;
  criteria?: string[];
  pairwise: boolean;
}

type Progress = CommandReply<'rank.label'>;

/** Runs until all is labelled, the labeller leaves, or no more keys come; says how far the work is. */
export async function labelTasks(
  client: Client,
  selection: Selection,
  keys: Keys,
  out: Output,
  review: boolean,
): Promise<Progress> {
  let progress: Progress = await client.call('rank.open', selection);
  let at = review && progress.tasks > 0 ? 0 : progress.next;
  while (at !== null) {
    const task = await client.call('rank.task', { ...selection, task: at });
    out.value({ task: at, ...task });
    const said = await ask(task, at, progress, selection.pairwise, keys, out);
    if (said.kind === 'back') at = Math.max(0, at - 1);
    else if (said.kind === 'ranked' || said.kind === 'skip') {
      const ranking = said.kind === 'ranked' ? said.ranking : null;
      progress = await client.call('rank.label', { ...selection, task: at, ranking });
      out.value({ labelled: at, row: task.row, criterion: task.criterion, ranking, done: progress.done });
      at = review ? following(at, progress) : progress.next;
    } else if (said.kind === 'keep') at = review ? following(at, progress) : nextOpen(at, task, progress);
    else break;
  }
  return progress;
}

/** The next task in order; null behind the last. */
function following(at: number, { tasks }: Progress): number | null {
  return at + 1 < tasks ? at + 1 : null;
}

/** Behind a task that is kept as it is: the next in order while going forward again, and in the end the open one. */
function nextOpen(at: number, task: CommandReply<'rank.task'>, progress: Progress): number | null {
  return task.state === 'open' ? progress.next : (following(at, progress) ?? progress.next);
}

/** Shows a task and takes keys until something is to be done about it. */
async function ask(
  task: CommandReply<'rank.task'>,
  number: number,
  { tasks, done }: Progress,
  pairwise: boolean,
  keys: Keys,
  out: Output,
): Promise<Exclude<Outcome, { kind: 'going' | 'help' | 'unknown' }>> {
  const options = { width: out.width(), paint: out.paint };
  const picker = new Picker(task.responses.length, pairwise);
  for (const line of taskPage(task, { number, tasks, done }, options)) out.line(line);
  if (task.state === 'skipped') out.line(out.paint('Skipped so far.', 'yellow'));
  if (task.ranking) out.line(out.paint(`So far: ${rankingText(task.ranking)}`, 'yellow'));
  out.line(promptLine(task, pairwise, options));
  const status = statusLine(out);
  status.show(rankingText([], true));
  for (;;) {
    const key = await keys.next();
    const outcome: Outcome = key === undefined ? { kind: 'quit' } : picker.press(key);
    switch (outcome.kind) {
      case 'going':
        status.show(rankingText(picker.ranking, true, picker.joins));
        break;
      case 'help':
        status.end();
        for (const line of helpLines(pairwise, options)) out.line(line);
        status.show(rankingText(picker.ranking, true, picker.joins));
        break;
      case 'unknown':
        status.show(
          rankingText(picker.ranking, true, picker.joins),
          `no such key here: ${printable(outcome.key)}`,
        );
        break;
      case 'keep':
        if (task.state !== 'open') {
          status.end();
          return outcome;
        }
        status.show(
          rankingText(picker.ranking, true, picker.joins),
          'not labelled yet: rank it, or s to skip',
        );
        break;
      case 'back':
        if (number > 0) {
          status.end();
          return outcome;
        }
        status.show(rankingText(picker.ranking, true, picker.joins), 'this is the first one');
        break;
      default:
        status.end(lastWord(outcome));
        return outcome;
    }
  }
}

/** What the line under a task says in the end. */
function lastWord(outcome: Outcome): string {
  if (outcome.kind === 'ranked') return rankingText(outcome.ranking);
  return outcome.kind === 'skip' ? 'skipped' : '';
}

function printable(key: string): string {
  return /^[\x21-\x7e]+$/.test(key) ? key : 'a special key';
}

/** A line that is written over on a terminal; elsewhere only how it ends is printed. */
function statusLine(out: Output) {
  let shown = false;
  return {
    show(text: string, note?: string) {
      if (!out.live) return;
      out.raw(
        `\r\x1b[2K  ${out.paint(text, 'bold')}${note === undefined ? '' : `   ${out.paint(note, 'yellow')}`}`,
      );
      shown = true;
    },
    end(text?: string) {
      if (out.live && shown) out.raw(text ? `\r\x1b[2K  ${out.paint(text, 'bold', 'green')}\n` : '\n');
      else if (text) out.line(`  ${text}`);
      shown = false;
    },
  };
}
