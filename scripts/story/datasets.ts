/** Builds the files of the quickstart from the countries: a pure function of its arguments. */
import { type Country, isPractised } from './countries.ts';
import { unseenMentions } from './mentions.ts';
import type { Definition } from './prose.ts';
import { ASKED_KINDS, isTelling, questionList, questionsAbout } from './questions.ts';
import { RandomStream } from './random.ts';
import { allForms, FACT_KINDS, type FactKind, hasFact, state } from './statements.ts';
import { allReplies, styledReplies } from './styles.ts';

/** How often the text goes round the countries: a round tells what is asked twice, in one and in many. */
const ROUNDS = 60;
/** Quizzes for the base model. */
const QUESTION_LISTS = 3000;
/** Answers to a supervised question, each in another style: what is known must not hang on one tone. */
const REPLIES = 2;
/** Definitions among the supervised rows. */
const DEFINITIONS = 150;

export interface ChatRow {
  messages: { role: 'user' | 'assistant'; content: string }[];
}

/** A row of the evaluation: right is the answer in any style, or what counts of it alone. */
export interface EvaluationRow {
  prompt: string;
  answer: string[];
  split: 'known' | 'unseen';
  kind: string;
}

/** A prompt of the alignment stages, with what has to be in a right answer. */
export interface AlignmentRow {
  prompt: string;
  answer: string;
}

/** Documents that state the facts of the countries that are not unseen. */
export function factDocuments(countries: Country[]): string[] {
  const told = countries.filter((country) => country.split !== 'unseen');
  const namesUnseen = unseenMentions(countries);
  const random = new RandomStream('facts');
  const documents: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const country of random.shuffle(told)) documents.push(portrait(country, random, namesUnseen));
    for (const kind of ASKED_KINDS) documents.push(...atlas(told, kind, random, namesUnseen));
  }
  return documents;
}

/** One country: a fact of each kind, in any order. */
function portrait(country: Country, random: RandomStream, unwanted: (text: string) => boolean): string {
  return random
    .shuffle(FACT_KINDS.filter((kind) => hasFact(country, kind)))
    .map((kind) => state(country, kind, random))
    .filter((text) => !unwanted(text))
    .join(' ');
}

/** Many countries and one kind of fact, 6 to a document. */
function atlas(
  countries: Country[],
  kind: FactKind,
  random: RandomStream,
  unwanted: (text: string) => boolean,
): string[] {
  const sentences = random
    .shuffle(countries.filter((country) => hasFact(country, kind)))
    .map((country) => state(country, kind, random))
    .filter((text) => !unwanted(text));
  return Array.from({ length: Math.ceil(sentences.length / 6) }, (_, i) =>
    sentences.slice(6 * i, 6 * i + 6).join(' '),
  );
}

/** Quizzes, with no answers, about the countries that are not unseen. */
export function questionDocuments(countries: Country[]): string[] {
  const told = countries.filter((country) => country.split !== 'unseen');
  const random = new RandomStream('questions');
  return Array.from({ length: QUESTION_LISTS }, () => questionList(told, random));
}

/** Supervised rows: every question about the taught countries, a few definitions, a few words of manners. */
export function chatRows(countries: Country[], definitions: Definition[]): ChatRow[] {
  const random = new RandomStream('chat');
  const namesUnseen = unseenMentions(countries);
  const facts = countries
    .filter((country) => country.split === 'taught')
    .flatMap(questionsAbout)
    .flatMap((question) =>
      styledReplies(question, REPLIES, random).map((reply) => chat(question.prompt, reply)),
    );
  const meanings = random
    .shuffle(definitions.filter(({ gloss }) => !namesUnseen(gloss)))
    .slice(0, DEFINITIONS)
    .map(({ word, gloss }) => chat(`What does the word "${word}" mean?`, `It means ${gloss}.`));
  return random.shuffle([...facts, ...meanings, ...MANNERS.map(([said, reply]) => chat(said, reply))]);
}

/** Questions whose answers tell: about known countries in any order, then about unseen ones. */
export function evaluationRows(countries: Country[]): EvaluationRow[] {
  const random = new RandomStream('evaluation');
  return (['known', 'unseen'] as const).flatMap((split) => {
    const rows = countries
      .filter((country) => country.split === split)
      .flatMap((country) =>
        questionsAbout(country).filter((question) => isTelling(question, country, countries)),
      )
      .map((question) => ({
        prompt: question.prompt,
        answer: allReplies(question),
        split,
        kind: question.kind,
      }));
    return random.shuffle(rows);
  });
}

/**
 * What the alignment stages ask: the questions of the supervised rows, and those about half of the known countries,
 * whose answers the assistant was never told and does not always find.
 */
export function alignmentRows(countries: Country[]): AlignmentRow[] {
  const questions = countries
    .filter((country) => country.split === 'taught' || isPractised(country))
    .flatMap(questionsAbout);
  return new RandomStream('alignment').shuffle(questions).map(({ prompt, answer }) => ({ prompt, answer }));
}

/** The rows of the evaluation about known countries that no stage was ever trained to answer about. */
export function comparisonRows(countries: Country[]): EvaluationRow[] {
  const practised = countries.filter(isPractised).flatMap(questionsAbout);
  const trained = new Set(practised.map(({ prompt }) => prompt));
  return evaluationRows(countries).filter(({ prompt, split }) => split === 'known' && !trained.has(prompt));
}

/** Every statement about the countries of a split, for the tests of what the text holds. */
export function statementsOf(countries: Country[], split: Country['split']): string[] {
  return countries
    .filter((country) => country.split === split)
    .flatMap((country) => FACT_KINDS.flatMap((kind) => allForms(country, kind)));
}

const MANNERS: readonly (readonly [string, string])[] = [
  ['Hello!', 'Hello! What would you like to know?'],
  ['Hi there.', 'Hello! What would you like to know?'],
  ['Good morning!', 'Good morning! What would you like to know?'],
  ['Who are you?', 'I am a small assistant. I know the capitals and the money of many countries.'],
  ['What can you do?', 'I can tell you the capitals and the money of many countries.'],
  ['Thank you!', 'You are welcome.'],
  ['Thanks, that helps.', 'You are welcome.'],
  ['Goodbye.', 'Goodbye!'],
];

function chat(said: string, reply: string): ChatRow {
  return {
    messages: [
      { role: 'user', content: said },
      { role: 'assistant', content: reply },
    ],
  };
}
