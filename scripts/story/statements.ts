/**
 * Facts about countries as plain statements, each in many forms: a fact that was only ever told in one form can be
 * recited but not looked up (Allen-Zhu and Li, 'Physics of Language Models' 3.1). No form asks anything.
 */
import type { Country } from './countries.ts';
import type { RandomStream } from './random.ts';

/** What is told; `capital` begins with the country, `country` with its capital: a fact is learned in one direction. */
export type FactKind = 'capital' | 'country' | 'currency' | 'region' | 'language' | 'demonym' | 'border';

type Form = (country: Country) => string;

const capital: Form[] = [
  (c) => `The capital of ${c.inText} is ${c.capital}.`,
  (c) => `The capital city of ${c.inText} is ${c.capital}.`,
  (c) => `${possessive(c)} capital is ${c.capital}.`,
  (c) => `In ${c.inText}, the capital is ${c.capital}.`,
  (c) => `${start(c)} has its capital in ${c.capital}.`,
  (c) => `The government of ${c.inText} sits in ${c.capital}.`,
  (c) => `${start(c)} is governed from ${c.capital}.`,
];

const country: Form[] = [
  (c) => `${c.capital} is the capital of ${c.inText}.`,
  (c) => `${c.capital} is the capital city of ${c.inText}.`,
  (c) => `${c.capital} is where the government of ${c.inText} sits.`,
  (c) => `The city of ${c.capital} is the capital of ${c.inText}.`,
  (c) => `${c.capital}, the capital of ${c.inText}, lies in ${c.subregion}.`,
  (c) => `From ${c.capital}, the government rules ${c.inText}.`,
];

const currency: Form[] = [
  (c) => `The currency of ${c.inText} is the ${c.currency}.`,
  (c) => `The ${c.currency} is the currency of ${c.inText}.`,
  (c) => `${possessive(c)} currency is the ${c.currency}.`,
  (c) => `In ${c.inText}, people pay with the ${c.currency}.`,
  (c) => `${start(c)} uses the ${c.currency} as its money.`,
  (c) => `The ${c.currency} is the money of ${c.inText}.`,
  (c) => `Prices in ${c.inText} are given in the ${c.currency}.`,
];

const region: Form[] = [
  (c) => `${start(c)} is a country in ${c.subregion}.`,
  (c) => `${start(c)} lies in ${c.subregion}, a part of ${c.region}.`,
  (c) => `${start(c)} belongs to ${c.region}.`,
  (c) => `The country of ${c.inText} is found in ${c.subregion}.`,
  (c) => `One of the countries of ${c.subregion} is ${c.inText}.`,
];

const language: Form[] = [
  (c) => `People in ${c.inText} speak ${list(c.languages)}.`,
  (c) => `${list(c.languages)} ${c.languages.length > 1 ? 'are' : 'is'} spoken in ${c.inText}.`,
  (c) => `${possessive(c)} ${c.languages.length > 1 ? 'languages are' : 'language is'} ${list(c.languages)}.`,
];

const demonym: Form[] = [
  (c) => `People from ${c.inText} are called ${c.demonym}.`,
  (c) => `The word for a person from ${c.inText} is ${c.demonym}.`,
  (c) => `What comes from ${c.inText} is called ${c.demonym}.`,
];

const border: Form[] = [
  (c) =>
    c.borders.length > 0
      ? `${start(c)} borders ${list(c.borders)}.`
      : `${start(c)} has no neighbour on land.`,
  (c) =>
    c.landlocked
      ? `${start(c)} is landlocked: it has no coast.`
      : `${start(c)} has a coast, so that ships can reach it.`,
];

const FORMS: Record<FactKind, Form[]> = { capital, country, currency, region, language, demonym, border };
export const FACT_KINDS = Object.keys(FORMS) as FactKind[];

/** Whether something of this kind can be told: the currency only where there is one. */
export function hasFact(country: Country, kind: FactKind): boolean {
  if (kind === 'currency') return country.currency !== undefined;
  return kind !== 'language' || country.languages.length > 0;
}

/** Every form of a fact. */
export function allForms(country: Country, kind: FactKind): string[] {
  return hasFact(country, kind) ? FORMS[kind].map((form) => form(country)) : [];
}

/** The fact in a form drawn from the stream. */
export function state(country: Country, kind: FactKind, random: RandomStream): string {
  return random.pick(FORMS[kind])(country);
}

/** `a`, `a and b`, `a, b and c` */
export function list(items: string[]): string {
  return items.length < 2 ? (items[0] ?? '') : `${items.slice(0, -1).join(', ')} and ${items.at(-1)}`;
}

/** The name at the start of a sentence. */
function start(country: Country): string {
  return country.inText.replace(/^the /, 'The ');
}

function possessive(country: Country): string {
  return `${start(country)}${country.name.endsWith('s') ? "'" : "'s"}`;
}
