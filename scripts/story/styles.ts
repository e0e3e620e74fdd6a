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

/** The question's answer in a style drawn from the stream. */
export function styledReply(question: Question, random: RandomStream): string {
  let left = random.next();
  for (const { weight, wordings } of STYLES) {
    left -= weight;
    if (left < 0) return random.pick(wordings(question));
  }
  return question.reply;
}

/** The bare answer, and every wording of every style: all of them are right. */
export function allReplies(question: Question): string[] {
  return [question.answer, ...STYLES.flatMap(({ wordings }) => wordings(question))];
}

/** A sentence inside of another: replies begin with `The`. */
function inside(reply: string): string {
  return reply[0]!.toLowerCase() + reply.slice(1);
}
