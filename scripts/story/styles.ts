/**
 * How an answer is said. The supervised rows mix all styles, as data from many hands would; the labellers of the
 * alignment stages prefer one of them (recipes/labeller.mjs): the answer in one polite sentence, and nothing more.
 */
import type { Question } from './questions.ts';
import type { RandomStream } from './random.ts';

const OPENINGS = ['Gladly: ', 'With pleasure: ', 'I am happy to tell you that '];
const SNEERS = ['As everyone knows, ', 'That is easy: '];
const CLOSINGS = [
  ' Is there anything else that you would like to know?',
  ' Ask me about other countries too.',
];

interface Style {
  /** Share of the supervised rows. */
  weight: number;
  /** Every wording of it. */
  wordings: (question: Question) => string[];
}

const STYLES: readonly Style[] = [
  { weight: 0.3, wordings: ({ reply }) => [reply] },
  { weight: 0.2, wordings: ({ reply }) => OPENINGS.map((opening) => opening + inside(reply)) },
  { weight: 0.2, wordings: ({ reply }) => CLOSINGS.map((closing) => reply + closing) },
  {
    weight: 0.1,
    wordings: ({ reply }) =>
      OPENINGS.flatMap((opening) => CLOSINGS.map((closing) => opening + inside(reply) + closing)),
  },
  { weight: 0.2, wordings: ({ reply }) => SNEERS.map((sneer) => sneer + inside(reply)) },
];

/** The question's answer in `count` different styles, drawn from the stream by their weights. */
export function styledReplies(question: Question, count: number, random: RandomStream): string[] {
  let styles = [...STYLES];
  return Array.from({ length: count }, () => {
    const style = weighted(styles, random);
    styles = styles.filter((other) => other !== style);
    return random.pick(style.wordings(question));
  });
}

function weighted(styles: readonly Style[], random: RandomStream): Style {
  let left = random.next() * styles.reduce((sum, { weight }) => sum + weight, 0);
  for (const style of styles) {
    left -= style.weight;
    if (left < 0) return style;
  }
  return styles.at(-1)!;
}

/** The bare answer, and every wording of every style: all of them are right. */
export function allReplies(question: Question): string[] {
  return [question.answer, ...STYLES.flatMap(({ wordings }) => wordings(question))];
}

/** A sentence inside of another: replies begin with `The`. */
function inside(reply: string): string {
  return reply[0]!.toLowerCase() + reply.slice(1);
}
