/** What a labeller sees: the prompt, the responses by number, how far the work is, and the keys. */
import type { CommandReply } from '../../../proto/commands.ts';
import { clean, displayWidth, type Paint, wrap } from '../text.ts';
import { placeKey, type Ranking } from './picker.ts';

type Task = CommandReply<'rank.task'>;

export interface PageOptions {
  width: number;
  paint: Paint;
}

/** Columns of text at most: longer lines are hard to read. */
const WIDEST = 100;

/** What a criterion asks for, where it is one that everybody knows. */
const QUESTIONS: Record<string, string> = {
  accuracy: 'what it says is true',
  helpfulness: 'it does what was asked, completely and to the point',
  safety: 'nobody comes to harm by it',
};

/** The lines of a task. */
export function taskPage(
  task: Task,
  place: { number: number; tasks: number; done: number },
  options: PageOptions,
): string[] {
  const { paint } = options;
  const width = Math.min(options.width, WIDEST);
  const question = QUESTIONS[task.criterion];
  return [
    '',
    header(
      `${place.number + 1} of ${place.tasks} · ${task.criterion}`,
      place.done / place.tasks,
      width,
      paint,
    ),
    ...(question === undefined ? [] : [paint(`Better is: ${question}.`, 'dim')]),
    '',
    ...task.messages.flatMap(({ role, content }) => {
      const text = block(content, '  ', '  ', width).map((line) => paint(line, 'bold'));
      return task.messages.length > 1 ? [paint(`  ${clean(role)}`, 'dim'), ...text] : text;
    }),
    '',
    ...task.responses.flatMap((response, i) => [
      ...(response.trim() === ''
        ? [` ${paint(placeKey(i), 'cyan', 'bold')}  ${paint('(empty)', 'dim')}`]
        : block(response, ` ${paint(placeKey(i), 'cyan', 'bold')}  `, '    ', width)),
      '',
    ]),
  ];
}

/** A ranking as `2 > 1 = 3`; `open`: more is to come, `joins` as good as the last. */
export function rankingText(ranking: Ranking, open = false, joins = false): string {
  const tiers = ranking.map((tier) => tier.map(placeKey).join(' = '));
  if (!open) return tiers.join(' > ');
  return joins ? `${tiers.join(' > ')} = _` : [...tiers, '_'].join(' > ');
}

/** The line under a task: what to press. */
export function promptLine(task: Task, pairwise: boolean, { paint }: PageOptions): string {
  const keys = pairwise
    ? '1 or 2, = equal'
    : `best first: ${placeKey(0)} to ${placeKey(task.responses.length - 1)}`;
  return paint(`${keys} · s skip · b back · ? help`, 'dim');
}

/** All keys. */
export function helpLines(pairwise: boolean, { paint }: PageOptions): string[] {
  const keys: [string, string][] = pairwise
    ? [
        ['1, 2', 'this one is better (also the arrows left and right)'],
        ['=', 'equally good'],
      ]
    : [
        ['1 2 3 ...', 'the best, the next best, ...; the last one follows by itself'],
        ['=', 'the next pick is as good as the last'],
        ['e, Enter', 'all that are left are equally good'],
        ['u, Backspace', 'take the last pick back'],
      ];
  keys.push(
    ['s', 'skip: no opinion'],
    ['b', 'back to the task before; what you say there replaces what you said'],
    ['n', 'on a task that is labelled already: leave it so and go on'],
    ['q', 'leave; everything said is kept, and the same command goes on from here'],
  );
  return keys.map(([key, what]) => `  ${paint(key.padEnd(14), 'cyan')}${what}`);
}

function header(title: string, share: number, width: number, paint: Paint): string {
  const cells = 20;
  const full = Math.floor(share * cells);
  const percent = `${Math.floor(share * 100)}%`.padStart(4);
  const rule = '─'.repeat(Math.max(2, width - displayWidth(title) - cells - percent.length - 6));
  const bar = paint('█'.repeat(full), 'green') + paint('░'.repeat(cells - full), 'dim');
  return `${paint('─', 'dim')} ${paint(title, 'bold')} ${paint(rule, 'dim')} ${bar}${percent}`;
}

/** Text of a model or a person, made harmless and wrapped; white space around it would give some models away. */
function block(text: string, first: string, rest: string, width: number): string[] {
  return wrap(clean(text).trim(), Math.max(10, width - displayWidth(rest))).map(
    (line, i) => (i === 0 ? first : rest) + line,
  );
}
