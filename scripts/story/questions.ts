/**
 * Questions: without answers in the lists that the base model reads, with answers in the supervised data, and as rows
 * of the evaluation.
 */
import type { Country } from './countries.ts';
import type { RandomStream } from './random.ts';

/** What is asked of the assistant and measured. */
export type AskedKind = 'capital' | 'country' | 'currency';
export const ASKED_KINDS: readonly AskedKind[] = ['capital', 'country', 'currency'];

interface Asked {
  phrasings: ((country: Country) => string)[];
  /** The whole sentence, and in it what counts. */
  reply: (country: Country) => string;
  answer: (country: Country) => string;
}

const ASKED: Record<AskedKind, Asked> = {
  capital: {
    phrasings: [
      (c) => `What is the capital of ${c.inText}?`,
      (c) => `Which city is the capital of ${c.inText}?`,
      (c) => `What is ${c.inText}${c.name.endsWith('s') ? "'" : "'s"} capital?`,
      (c) => `Can you tell me the capital of ${c.inText}?`,
      (c) => `Where does the government of ${c.inText} sit?`,
    ],
    reply: (c) => `The capital of ${c.inText} is ${c.capital}.`,
    answer: (c) => c.capital,
  },
  country: {
    phrasings: [
      (c) => `${c.capital} is the capital of which country?`,
      (c) => `Which country has ${c.capital} as its capital?`,
      (c) => `What country is governed from ${c.capital}?`,
    ],
    // The sentence of `capital`: one that begins with the capital asks a small model to copy a name that it never
    // saw the assistant say, and it says another.
    reply: (c) => `The capital of ${c.inText} is ${c.capital}.`,
    answer: (c) => c.name,
  },
  currency: {
    phrasings: [
      (c) => `What is the currency of ${c.inText}?`,
      (c) => `Which currency is used in ${c.inText}?`,
      (c) => `What do people in ${c.inText} pay with?`,
    ],
    reply: (c) => `The currency of ${c.inText} is the ${c.currency}.`,
    answer: (c) => c.currency!,
  },
};

/** A question with its answer: the sentence that a good assistant says, and the part that has to be in it. */
export interface Question {
  prompt: string;
  reply: string;
  answer: string;
  kind: AskedKind;
}

/** Every phrasing of what can be asked about a country. */
export function questionsAbout(country: Country): Question[] {
  return ASKED_KINDS.filter((kind) => kind !== 'currency' || country.currency !== undefined).flatMap(
    (kind) => {
      const { phrasings, reply, answer } = ASKED[kind];
      return phrasings.map((phrasing) => ({
        prompt: phrasing(country),
        reply: reply(country),
        answer: answer(country),
        kind,
      }));
    },
  );
}

/** Questions that nothing in the text answers: they make the lists longer and less of one kind. */
const OTHER_QUESTIONS: ((country: Country) => string)[] = [
  (c) => `Which countries border ${c.inText}?`,
  (c) => `Which languages are spoken in ${c.inText}?`,
  (c) => `On which continent does ${c.inText} lie?`,
  (c) => `How large is ${c.inText}?`,
  (c) => `How many people live in ${c.inText}?`,
  (c) => `What do you call a person from ${c.inText}?`,
  (c) => `Does ${c.inText} have a coast?`,
];

/**
 * A quiz: 4 to 9 questions on countries drawn from the stream. They stand on one line: with breaks between them the
 * tokenizer would join `?` and the break, and a prompt that ends in `?` would look like the end of a quiz.
 */
export function questionList(countries: Country[], random: RandomStream): string {
  const questions = Array.from({ length: 4 + random.below(6) }, () => {
    const country = random.pick(countries);
    return random.next() < 0.75
      ? random.pick(questionsAbout(country)).prompt
      : random.pick(OTHER_QUESTIONS)(country);
  });
  return questions.join(' ');
}

/**
 * Whether a right answer shows that the fact was read: it belongs to one country alone (not the euro), and cannot be
 * read off the question (Kuwait City, Singapore).
 */
export function isTelling(question: Question, about: Country, countries: Country[]): boolean {
  if (about.capital.includes(about.name) || about.name.includes(about.capital)) return false;
  return countries.every(
    (other) => other === about || !questionsAbout(other).some((q) => q.answer === question.answer),
  );
}
